"""Read labeled images in all supported formats, one dataset per split."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from qcs.data.dataset import LabeledImages
from qcs.data.published import differences
from qcs.data.readers import archive, class_folders, list_file
from qcs.data.readers.affectnet import AFFECTNET7, AFFECTNET8
from qcs.data.readers.ckplus import CKPLUS
from qcs.data.readers.expw import EXPW
from qcs.data.readers.fer2013 import FER2013
from qcs.data.readers.ferplus import FERPLUS
from qcs.data.readers.layout import LayoutError
from qcs.data.readers.options import Format, Options
from qcs.data.readers.raf_db import RAF_DB
from qcs.data.readers.sfew import SFEW
from qcs.data.readers.table import SPLITS, Table, datasets
from qcs.data.votes import DEFAULT, RULES
from qcs.errors import InputError, check_choice

__all__ = ["FORMATS", "SPLITS", "load", "read"]

_LISTS = (".txt", ".lst", ".csv")

FORMATS: dict[str, Format] = {
    "raf_db": RAF_DB,
    "ferplus": FERPLUS,
    "fer2013": FER2013,
    "affectnet7": AFFECTNET7,
    "affectnet8": AFFECTNET8,
    "expw": EXPW,
    "sfew": SFEW,
    "ckplus": CKPLUS,
    "npz": Format(
        archive.LAYOUT,
        lambda path: path.suffix.lower() == ".npz" and not path.is_dir(),
        lambda path, options: archive.read_archive(path, options.votes),
    ),
    "folder": Format(class_folders.LAYOUT, Path.is_dir, lambda path, _: class_folders.read_class_folders(path)),
    "list": Format(
        list_file.LAYOUT,
        lambda path: path.suffix.lower() in _LISTS and not path.is_dir(),
        lambda path, options: list_file.read_list(path, options.image_root),
    ),
}
"""All formats by name: first the datasets, then the general formats, tried if no dataset is recognized."""

_GENERAL = ("npz", "folder", "list")


def read(
    path: str | os.PathLike[str],
    image_root: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    *,
    format: str | None = None,
    votes: str | None = None,
) -> dict[str, LabeledImages]:
    """Read labeled images in any supported format.

    * `.npz` archive: `images` (n, H, W) or (n, H, W, 3), uint8, and either `votes` (n, 10), converted to labels by the
      rule `votes` (images without a label are left out), or `labels` (n,), integers or names. Optional: `split` (n,),
      0, 1, 2 or names; `names` (n,); `subjects` (n,); `classes`, the names of integer labels.
    * Folder: `FOLDER/<class>/<image>.jpg` or `FOLDER/{train,validation,test}/<class>/<image>.jpg`; `val` and `valid`
      mean `validation`. Images are directly in their class folder, in any format of `qcs.data.images.image_formats`
      and under any name; hidden files are ignored. A single folder `images` around the classes or splits may be there.
    * List, `.txt` or `.lst`: lines of `path label`. The path may contain spaces, the label may not.
    * List, `.csv`: a header with the columns `path`, `label` and optionally `split` and `subject`; other columns are
      ignored.
    * The datasets in `FORMATS`, in the layouts of their authors and of the original implementations: see
      docs/datasets.md.

    Label names become canonical names. Their order is that of the dataset if it is known, that of
    `qcs.data.labels.CANONICAL` if it contains all of them, else alphabetical. Integer labels count from 0; without
    `classes` their names are "0", "1", ... The codes of a dataset become names by its own table.

    Warns if counts differ from the published ones, if images are listed more than once, if files or folders are left
    out, and if images are left out because their class is not among `classes`.

    Args:
        path: The archive, folder or list file.
        image_root: Folder that paths in a list are relative to. Default: the one of the format, else the folder of the
            list.
        classes: Class names in index order: names for integer labels without names, else a selection of classes.
        format: A key of `FORMATS`. Default: detected from the path.
        votes: Vote rule for FERPlus, see `qcs.data.votes.decide`. Default: the official majority, if there are votes.

    Returns:
        A dataset for each split that has images, "train", "validation" and "test" in that order, or a single "all" if
        the data has no splits. All share the same classes.

    Raises:
        InputError: The path is missing or of an unknown kind, its content does not follow the format, or `votes` is
            given for data without votes.

    Example:
        >>> import os, tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "faces.npz")
        ...     images = np.zeros((3, 48, 48), np.uint8)
        ...     np.savez(path, images=images, labels=["anger", "happiness", "anger"], split=[0, 0, 2])
        ...     {split: images.class_counts() for split, images in read(path).items()}
        {'train': {'happy': 1, 'anger': 1}, 'test': {'happy': 0, 'anger': 1}}
    """
    found, table = load(path, image_root, format=format, votes=votes)
    splits = datasets(table, classes)
    remarks = list(table.remarks)
    if found not in _GENERAL and classes is None:  # a general format may hold a subset of a dataset
        remarks += differences(found, splits, votes or DEFAULT)
    for remark in remarks:
        warnings.warn(f"{table.source}: {remark}", stacklevel=2)
    return splits


def load(
    path: str | os.PathLike[str],
    image_root: str | os.PathLike[str] | None = None,
    *,
    format: str | None = None,
    votes: str | None = None,
) -> tuple[str, Table]:
    """Return the format and the table of some data, before conversion to datasets; arguments as for `read`.

    Raises:
        InputError: As for `read`.
    """
    path = Path(path)
    if votes is not None:
        check_choice("votes", votes, RULES)
    if path.exists() and not path.is_dir() and not path.is_file():  # opening a named pipe would wait for ever
        raise InputError(f"{path} is neither a file nor a folder; expected an .npz archive, a folder or a list")
    name = _recognized(path) if format is None else format
    check_choice("format", name, FORMATS)
    _check_kind(path, name)
    options = Options(Path(image_root) if image_root is not None else None, votes or DEFAULT)
    try:
        table = FORMATS[name].read(path, options)
    except LayoutError as error:  # a dataset has more layouts than a folder per class
        raise LayoutError(error.found, FORMATS[name].layout, error.advice) from error
    if votes is not None and not table.voted:
        raise InputError(f"{path}, read as {name}, holds labels, not votes; omit the vote rule {votes}")
    return name, table


def _recognized(path: Path) -> str:
    datasets = [name for name, stored in FORMATS.items() if name not in _GENERAL and stored.recognizes(path)]
    if len(datasets) > 1:
        raise InputError(f"{path} matches the formats {' and '.join(datasets)}; give the format")
    general = [name for name in _GENERAL if FORMATS[name].recognizes(path)]
    return (*datasets, *general, "list")[0]


def _check_kind(path: Path, format: str) -> None:
    kinds = {"npz": (".npz",), "folder": (), "list": _LISTS}.get(format, _LISTS)
    fits = path.is_dir() if format == "folder" else path.suffix.lower() in kinds or format not in _GENERAL
    if not path.exists() or not fits or not (path.is_dir() or path.suffix.lower() in (*_LISTS, ".npz")):
        raise InputError(
            f"{path} {'is of an unknown kind' if path.exists() else 'does not exist'}; expected an .npz archive, a "
            "folder of one folder per class, or a .txt, .lst or .csv list"
        )
