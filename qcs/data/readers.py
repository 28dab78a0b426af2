"""Reads labelled images from an array archive, a folder per class, or a list file, into one dataset per split."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qcs.data.dataset import LabelledImages, Pixels
from qcs.data.labels import CANONICAL, CLASSES, canonical
from qcs.data.votes import majority
from qcs.errors import InputError

SPLITS = ("train", "validation", "test")
"""Names of the splits; the split codes 0, 1, 2 of an archive index this tuple."""

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

_SPLIT_OF = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_SPLIT_CODES = dict(zip("012", SPLITS, strict=True))
_ARRAYS = ("images", "votes", "labels", "split", "names", "classes")
_FOLDER_LAYOUT = "FOLDER/<class>/<image>.jpg or FOLDER/{train,validation,test}/<class>/<image>.jpg"


def read(
    path: str | os.PathLike[str], image_root: str | os.PathLike[str] | None = None, classes: Sequence[str] | None = None
) -> dict[str, LabelledImages]:
    """Reads labelled images, in whichever of the accepted forms they are stored.

    * `.npz` archive: `images` (n, H, W) or (n, H, W, 3), uint8, with either `votes` (n, 10), reduced by
      `qcs.data.majority` (images without a majority are left out), or `labels` (n,), whole numbers or names. Optional:
      `split` (n,), 0, 1, 2 or names; `names` (n,); `classes`, the names of whole-number labels.
    * Folder: `FOLDER/<class>/<image>.jpg` or `FOLDER/{train,validation,test}/<class>/<image>.jpg`; `val` and `valid`
      mean `validation`. Images lie directly in their class folder; hidden files are ignored.
    * List, `.txt` or `.lst`: lines of `path label`. The path may contain spaces, the label may not.
    * List, `.csv`: a header with the columns `path`, `label` and optionally `split`; other columns are ignored.

    Labels that are names become canonical names. Their order is that of `qcs.data.labels.CANONICAL` where all of them
    are in it, else alphabetical. Labels that are whole numbers count from 0; without `classes` their names are "0",
    "1", ...

    Args:
        path: The archive, folder or list file.
        image_root: Folder that the paths of a list start from. Default: the folder of the list.
        classes: Class names in index order: the names of whole-number labels, or the order of those that are names.

    Returns:
        One dataset per split that has images, "train", "validation" and "test" in that order, or a single "all" where
        the data has no splits. All of them share the same classes.

    Raises:
        InputError: The path is missing or of no accepted kind, or what it holds is not as described above.

    Example:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "faces.npz")
        ...     images = np.zeros((3, 48, 48), np.uint8)
        ...     np.savez(path, images=images, labels=["anger", "happiness", "anger"], split=[0, 0, 2])
        ...     {split: images.class_counts() for split, images in read(path).items()}
        {'train': {'happy': 1, 'anger': 1}, 'test': {'happy': 0, 'anger': 1}}
    """
    path = Path(path)
    kind = "folder" if path.is_dir() else path.suffix.lower()
    if not path.exists() or kind not in ("folder", ".npz", ".txt", ".lst", ".csv"):
        raise InputError(
            f"{path} {'is of unknown kind' if path.exists() else 'does not exist'}; expected an .npz archive, a folder "
            f"of one folder per class, or a .txt, .lst or .csv list"
        )
    if kind == "folder":
        table = _read_folder(path)
    elif kind == ".npz":
        table = _read_archive(path)
    else:
        table = _read_list(path, Path(image_root) if image_root is not None else path.parent)
    return _datasets(table, classes)


def hold_out(dataset: LabelledImages, fraction: float = 0.1, seed: int = 0) -> tuple[LabelledImages, LabelledImages]:
    """Splits a validation part off a training set, at random within each class.

    Args:
        dataset: Images to split.
        fraction: Share of each class to hold out, between 0 and 1. Of a class with two images or more at least one is
            held out and at least one is kept; a single image is kept.
        seed: The same seed gives the same split.

    Returns:
        The training part and the validation part, each in the original order.

    Raises:
        InputError: `fraction` is not between 0 and 1, or no class has two images.

    Example:
        >>> faces = LabelledImages(np.zeros((25, 8, 8), np.uint8), [0] * 20 + [1] * 4 + [2], ["happy", "sad", "fear"])
        >>> [part.class_counts() for part in hold_out(faces)]
        [{'happy': 18, 'sad': 3, 'fear': 1}, {'happy': 2, 'sad': 1, 'fear': 0}]
    """
    if not 0 < fraction < 1:
        raise InputError(f"the fraction to hold out is {fraction}; expected a number between 0 and 1")
    generator = np.random.default_rng(seed)
    held = np.zeros(len(dataset), dtype=bool)
    for label in range(len(dataset.classes)):
        members = generator.permutation(np.flatnonzero(dataset.labels == label))
        if len(members) > 1:
            held[members[: min(max(round(fraction * len(members)), 1), len(members) - 1)]] = True
    if not held.any():
        raise InputError("no class has two images, so none can be held out for validation; give a validation split")
    return dataset.subset(~held), dataset.subset(held)


def merge(splits: Mapping[str, LabelledImages]) -> LabelledImages:
    """Joins splits into one dataset, one after another.

    Args:
        splits: Datasets of the same classes, as `read` returns them.

    Returns:
        All images, under the transform of the first split.

    Raises:
        InputError: There is no split, or two splits have different classes.

    Example:
        >>> faces = LabelledImages(np.zeros((4, 8, 8), np.uint8), [0, 0, 1, 1], ["happy", "sad"])
        >>> train, validation = hold_out(faces, 0.5)
        >>> len(merge({"train": train, "validation": validation}))
        4
    """
    if len({part.classes for part in splits.values()}) != 1:
        listed = "; ".join(f"{name}: {', '.join(part.classes)}" for name, part in splits.items())
        raise InputError(f"cannot merge splits of different classes ({listed or 'no split given'})")
    parts = list(splits.values())
    return LabelledImages(
        [image for part in parts for image in part.images],
        np.concatenate([part.labels for part in parts]),
        parts[0].classes,
        names=np.concatenate([part.names for part in parts]),
        transform=parts[0].transform,
    )


@dataclass(frozen=True)
class _Table:
    """What every form of storage comes down to: one row per image."""

    source: Path
    images: Pixels | list[str]
    labels: list[str]
    names: Sequence[str] | npt.NDArray[np.str_] | None = None
    splits: list[str] | None = None  # names or codes, as found
    classes: tuple[str, ...] | None = None  # stored with the images


def _datasets(table: _Table, classes: Sequence[str] | None) -> dict[str, LabelledImages]:
    if not table.labels:
        raise InputError(f"{table.source} holds no labelled image")
    indices, names = _indices(table, classes if classes is not None else table.classes)
    try:
        whole = LabelledImages(table.images, indices, names, names=table.names)
    except InputError as error:
        raise InputError(f"{table.source}: {error}") from error
    if table.splits is None:
        return {"all": whole}
    found = np.array([_SPLIT_OF.get(split.lower(), _SPLIT_CODES.get(split, "")) for split in table.splits])
    if not found.all():
        row = int(np.flatnonzero(found == "")[0])
        raise InputError(
            f"{table.source}: split {table.splits[row]!r} of image {whole.names[row]} (row {row}) is unknown; "
            f"expected train, validation (or val, valid) or test"
        )
    return {name: whole.subset(found == name) for name in SPLITS if (found == name).any()}


def _indices(table: _Table, classes: Sequence[str] | None) -> tuple[list[int], Sequence[str]]:
    """Class index of each label, and the class names, from labels that are all whole numbers or all names."""
    present = set(table.labels)
    if all(_is_number(label) for label in present):
        numbers = {label: int(label) for label in present}
        if classes is None:
            classes = _numbered(table.source, set(numbers.values()))
        return [numbers[label] for label in table.labels], classes
    found = {canonical(label) for label in present}
    order = [canonical(name) for name in classes] if classes is not None else _order(found)
    if not found <= set(order):
        raise InputError(
            f"{table.source}: labels {', '.join(sorted(found - set(order)))} are not among the classes "
            f"{', '.join(order)}; add them to the classes or leave those images out"
        )
    position = {label: order.index(canonical(label)) for label in present}
    return [position[label] for label in table.labels], order


def _is_number(label: str) -> bool:
    return label.removeprefix("-").isdecimal()


def _numbered(source: Path, numbers: set[int]) -> list[str]:
    absent = [number for number in range(len(numbers)) if number not in numbers]
    if absent:
        raise InputError(
            f"{source}: labels are numbers from {min(numbers)} to {max(numbers)} without {absent[0]}; expected every "
            f"number from 0 up: renumber them and give the class names, or use names as labels"
        )
    return [str(number) for number in range(len(numbers))]


def _order(found: set[str]) -> list[str]:
    return [name for name in CANONICAL if name in found] if found <= set(CANONICAL) else sorted(found)


def _read_archive(path: Path) -> _Table:
    stored, arrays = _load_arrays(path)
    if "images" not in arrays or ("votes" in arrays) == ("labels" in arrays):
        raise InputError(
            f"{path} holds {', '.join(stored) or 'nothing'}; expected images and one of votes and labels "
            f"(optional: split, names, classes)"
        )
    count = len(arrays["images"])
    for name in arrays.keys() - {"images", "classes"}:
        if len(arrays[name]) != count:
            raise InputError(f"{path}: {name} has {len(arrays[name]):,} rows; expected {count:,}, as many as images")
    if "votes" in arrays:
        arrays = _without_votes(path, arrays)
    texts = {name: _texts(path, name, arrays[name]) for name in arrays.keys() - {"images"}}
    classes = tuple(texts["classes"]) if "classes" in texts else None
    return _Table(path, arrays["images"], texts["labels"], texts.get("names"), texts.get("split"), classes)


def _load_arrays(path: Path) -> tuple[list[str], dict[str, npt.NDArray[Any]]]:
    """The names of all arrays in the archive, and those of them that mean something here."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive.files, {name: np.atleast_1d(archive[name]) for name in _ARRAYS if name in archive}
    except Exception as error:  # a damaged archive raises zip, zlib, OS and value errors alike
        raise InputError(f"cannot read {path} as an .npz archive of plain arrays: {error}") from error


def _without_votes(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Replaces the votes by labels and drops the rows that have none."""
    try:
        labels = majority(arrays["votes"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    agreed = labels >= 0
    rows = {name: arrays[name][agreed] for name in ("images", "split", "names") if name in arrays}
    return rows | {"labels": labels[agreed], "classes": np.array(CLASSES["ferplus"])}


def _texts(path: Path, name: str, array: npt.NDArray[Any]) -> list[str]:
    values = [str(value).strip() for value in array.ravel().tolist()]
    if array.ndim != 1 or array.dtype.kind not in "iuU" or "" in values:
        raise InputError(
            f"{path}: {name} is {array.dtype} of shape {array.shape}; expected one whole number or name per row, "
            f"none of them empty"
        )
    return values


def _read_folder(root: Path) -> _Table:
    folders = _subfolders(root)
    in_splits = [folder for folder in folders if folder.name.lower() in _SPLIT_OF]
    if in_splits and len(in_splits) < len(folders):
        other = next(folder.name for folder in folders if folder not in in_splits)
        raise InputError(f"{root} holds the folder {other} beside the splits; expected {_FOLDER_LAYOUT}")
    class_folders = [child for folder in in_splits for child in _subfolders(folder)] if in_splits else folders
    images = [image for folder in class_folders for image in _images_in(folder)]
    return _Table(
        root,
        [str(image) for image in images],
        [image.parent.name for image in images],
        [image.relative_to(root).as_posix() for image in images],
        [image.parent.parent.name for image in images] if in_splits else None,
    )


def _subfolders(folder: Path) -> list[Path]:
    found = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    if not found:
        raise InputError(f"{folder} holds no folders; expected {_FOLDER_LAYOUT}")
    return found


def _images_in(folder: Path) -> list[Path]:
    """Direct children only. An empty class would silently shift the indices of those after it: an error."""
    found = sorted(
        child
        for child in folder.iterdir()
        if child.suffix.lower() in IMAGE_SUFFIXES and not child.name.startswith(".") and child.is_file()
    )
    if not found:
        raise InputError(
            f"class folder {folder} holds no images; expected {_FOLDER_LAYOUT}; add images or remove the folder"
        )
    return found


def _read_list(path: Path, root: Path) -> _Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(_csv_rows(path, text) if path.suffix.lower() == ".csv" else _text_rows(path, text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path} as a list in UTF-8: {error}") from error
    images = [os.path.join(root, row.path) for row in rows]
    missing = [image for image in images if not os.path.isfile(image)]
    if missing:
        raise InputError(
            f"{len(missing):,} of {len(images):,} images missing under {root}, first: {missing[0]}; "
            f"give the folder that the paths in {path} start from as the image root"
        )
    splits = [row.split for row in rows if row.split is not None]
    return _Table(path, images, [row.label for row in rows], [row.path for row in rows], splits or None)


class _Row(NamedTuple):
    path: str
    label: str
    split: str | None = None


def _text_rows(path: Path, text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        columns = line.strip().rsplit(maxsplit=1)
        if len(columns) == 1:
            raise InputError(f"{path} line {number} is {line.strip()!r}; expected a path, a space and a label")
        if columns:
            yield _Row(*columns)


def _csv_rows(path: Path, text: str) -> Iterator[_Row]:
    lines = csv.reader(io.StringIO(text), skipinitialspace=True)
    header = [name.strip() for name in next(lines, [])]
    absent = [name for name in ("path", "label") if name not in header]
    if absent:
        raise InputError(
            f"{path} lacks the column {' and '.join(absent)}; its header is {','.join(header) or 'empty'}; "
            f"expected path,label and optionally split"
        )
    for line in lines:
        values = dict(zip(header, map(str.strip, line), strict=False))
        row = _Row(**{name: values.get(name, "") for name in _Row._fields if name in header})
        if line and "" in row:
            raise InputError(f"{path} line {lines.line_num} lacks its {_Row._fields[row.index('')]}; fill it in")
        if line:
            yield row
