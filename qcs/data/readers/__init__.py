"""Reads labeled images in any of the formats in use, into one dataset per split."""

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
from qcs.data.readers.files import IMAGE_SUFFIXES
from qcs.data.readers.layout import LayoutError
from qcs.data.readers.options import Format, Options
from qcs.data.readers.raf_db import RAF_DB
from qcs.data.readers.sfew import SFEW
from qcs.data.readers.table import SPLITS, Table, datasets
from qcs.data.votes import DEFAULT, RULES
from qcs.errors import InputError

__all__ = ["FORMATS", "IMAGE_SUFFIXES", "SPLITS", "load", "read"]

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
"""Every format by name: those of datasets, then the general ones, which are tried where no dataset is recognized."""

_GENERAL = ("npz", "folder", "list")


def read(
    path: str | os.PathLike[str],
    image_root: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    *,
    format: str | None = None,
    votes: str | None = None,
) -> dict[str, LabeledImages]:
    """Reads labeled images, in whichever of the accepted forms they are stored.

    * `.npz` archive: `images` (n, H, W) or (n, H, W, 3), uint8, with either `votes` (n, 10), which become labels as
      `votes` says (images without a label are left out), or `labels` (n,), whole numbers or names. Optional: `split`
      (n,), 0, 1, 2 or names; `names` (n,); `subjects` (n,); `classes`, the names of whole-number labels.
    * Folder: `FOLDER/<class>/<image>.jpg` or `FOLDER/{train,validation,test}/<class>/<image>.jpg`; `val` and `valid`
      mean `validation`. Images lie directly in their class folder; hidden files are ignored.
    * List, `.txt` or `.lst`: lines of `path label`. The path may contain spaces, the label may not.
    * List, `.csv`: a header with the columns `path`, `label` and optionally `split` and `subject`; other columns are
      ignored.
    * The datasets in `FORMATS` as their authors and the original implementations lay them out: see docs/datasets.md.

    Labels that are names become canonical names. Their order is that of the dataset where it is known, that of
    `qcs.data.labels.CANONICAL` where all of them are in it, else alphabetical. Labels that are whole numbers count from
    0; without `classes` their names are "0", "1", ... A dataset's own codes become names by its table.

    Warns of counts that are not the published ones, of images listed more than once, and of images left out because
    their class is not among `classes`.

    Args:
        path: The archive, folder or list file.
        image_root: Folder that the paths of a list start from. Default: where the format has it, else the folder of the
            list.
        classes: Class names in index order: the names of whole-number labels that have none, else a choice of classes
            by name.
        format: A key of `FORMATS`. Default: what the path is recognized as.
        votes: How FERPlus votes become labels, see `qcs.data.votes.decide`. Default: the official majority, where there
            are votes.

    Returns:
        One dataset per split that has images, "train", "validation" and "test" in that order, or a single "all" where
        the data has no splits. All of them share the same classes.

    Raises:
        InputError: The path is missing or of no accepted kind, what it holds is not as described above, or `votes` is
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
    if found not in _GENERAL and classes is None:  # a general format may hold any part of a dataset
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
    """The name of the format and the rows of some data, before they become datasets; arguments as for `read`.

    Raises:
        InputError: As for `read`.
    """
    path = Path(path)
    if votes is not None and votes not in RULES:
        raise InputError(f"unknown vote rule {votes!r}; expected one of {', '.join(RULES)}")
    name = _recognized(path) if format is None else format
    if name not in FORMATS:
        raise InputError(f"unknown format {name!r}; expected one of {', '.join(FORMATS)}")
    _check_kind(path, name)
    options = Options(Path(image_root) if image_root is not None else None, votes or DEFAULT)
    try:
        table = FORMATS[name].read(path, options)
    except LayoutError as error:  # where a dataset is wanted, a folder per class is not all that it may be
        raise LayoutError(error.found, FORMATS[name].layout, error.advice) from error
    if votes is not None and not table.voted:
        raise InputError(f"{path}, read as {name}, holds labels, not votes; leave out the vote rule {votes}")
    return name, table


def _recognized(path: Path) -> str:
    datasets = [name for name, stored in FORMATS.items() if name not in _GENERAL and stored.recognizes(path)]
    if len(datasets) > 1:
        raise InputError(f"{path} can be read as {' or '.join(datasets)}; say which format it is")
    general = [name for name in _GENERAL if FORMATS[name].recognizes(path)]
    return (*datasets, *general, "list")[0]


def _check_kind(path: Path, format: str) -> None:
    kinds = {"npz": (".npz",), "folder": (), "list": _LISTS}.get(format, _LISTS)
    fits = path.is_dir() if format == "folder" else path.suffix.lower() in kinds or format not in _GENERAL
    if not path.exists() or not fits or not (path.is_dir() or path.suffix.lower() in (*_LISTS, ".npz")):
        raise InputError(
            f"{path} {'is of unknown kind' if path.exists() else 'does not exist'}; expected an .npz archive, a folder "
            f"of one folder per class, or a .txt, .lst or .csv list"
        )
