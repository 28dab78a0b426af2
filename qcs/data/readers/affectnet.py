"""Read AffectNet (Mollahosseini, Hasani and Mahoor, 2017) with seven or eight classes."""

from __future__ import annotations

import io
import os
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from qcs.data.labels import CODES
from qcs.data.readers.coded import coded, has_lists, read_coded
from qcs.data.readers.files import check_present, file_names
from qcs.data.readers.layout import LayoutError
from qcs.data.readers.options import Format, Options
from qcs.data.readers.table import Table
from qcs.errors import InputError

_FOLDERS = {"train": "train_set", "validation": "val_set"}
_ENDING = "_exp.npy"
_MOST_BYTES = 4096  # of an annotation; valid ones have less than 200


def _layout(classes: int) -> tuple[str, ...]:
    return (
        f"FOLDER/affectnet_{{training,validation}}-cls{classes}.txt (lines 'path label')",
        f"or FOLDER/{{train,val}}_annotations_{classes}class.txt",
        f"or FOLDER/{{train_set,val_set}}/annotations/<id>{_ENDING} and .../images/<id>.jpg",
        "or a .csv file with the columns phase,img_path,label",
        f"or a folder per class, named 0 to {classes - 1} or by expression",
    )


def _annotated(path: Path) -> dict[str, Path]:
    """Return the folders with annotations by split; the key is "" without splits."""
    folders = {split: path / name for split, name in _FOLDERS.items()} | {"": path}
    return {split: folder for split, folder in folders.items() if (folder / "annotations").is_dir()}


def _recognizes(path: Path, dataset: str) -> bool:
    # Other datasets have folders of annotations too.
    return has_lists(path, dataset) or any(map(_has_labels, _annotated(path).values()))


def _has_labels(folder: Path) -> bool:
    with os.scandir(folder / "annotations") as entries:
        return any(_is_label(entry.name) for entry in entries)


def _read(path: Path, options: Options, dataset: str) -> Table:
    folders = _annotated(path)
    if not folders or has_lists(path, dataset):
        return read_coded(path, options, dataset, CODES["affectnet"])
    images, labels, names, splits, without = [], [], [], [], 0
    for split, folder in folders.items():
        ids = sorted(name.removesuffix(_ENDING) for name in file_names(folder / "annotations") if _is_label(name))
        if not ids:
            raise LayoutError(f"{folder / 'annotations'} holds no annotations <id>{_ENDING}", _layout(8))
        without += len({os.path.splitext(name)[0] for name in file_names(folder / "images")} - {*ids})
        images += [f"{folder}/images/{image}.jpg" for image in ids]
        names += [f"{folder.name}/images/{image}.jpg" if split else f"images/{image}.jpg" for image in ids]
        labels += [_label(f"{folder}/annotations/{image}{_ENDING}") for image in ids]
        splits += [split] * len(ids)
    check_present(images, path, path)
    remarks = (f"{without:,} images have no annotation",) if without else ()
    return coded(
        Table(path, images, labels, names, splits if "" not in folders else None, remarks=remarks),
        dataset,
        CODES["affectnet"],
    )


def _is_label(name: str) -> bool:
    return name.endswith(_ENDING) and not name.startswith(".")


def _label(path: str) -> str:
    """Read the label code of an annotation file."""
    try:
        with open(path, "rb", buffering=0) as file:
            return _code(file.read(_MOST_BYTES))
    except Exception as error:  # corrupt files raise many kinds of errors
        reason = " ".join(str(error).split())
    raise InputError(
        f"annotation {path} does not hold a single label code: {reason}; replace it, or remove it and its image"
    )


@lru_cache
def _code(content: bytes) -> str:
    """Decode an array with a single number, possibly as text. Cached, because there are few distinct contents."""
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if isinstance(array, np.ndarray) and array.size == 1 and array.dtype.kind in "iufU":
        value = float(array.item())
        if value.is_integer() and abs(value) < 1e6:
            return str(int(value))
    raise ValueError(f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else "an archive")


AFFECTNET7 = Format(_layout(7), partial(_recognizes, dataset="affectnet7"), partial(_read, dataset="affectnet7"))
AFFECTNET8 = Format(_layout(8), partial(_recognizes, dataset="affectnet8"), partial(_read, dataset="affectnet8"))
