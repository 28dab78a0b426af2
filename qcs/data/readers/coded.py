"""Read common repackagings of the datasets: lists, .csv tables and class folders with the codes of the dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from qcs.data.labels import CLASSES
from qcs.data.readers.class_folders import read_class_folders
from qcs.data.readers.files import file_names
from qcs.data.readers.layout import LayoutError
from qcs.data.readers.list_file import CSV_COLUMNS, Rows, csv_rows, listed, text_rows
from qcs.data.readers.options import Options
from qcs.data.readers.table import SPLIT_OF, SPLITS, Table, named
from qcs.errors import InputError

_LISTS = {
    "raf_db": r"raf_db_basic_(train|test)\.txt",
    "ferplus": r"ferplus_(training|test)\.txt",
    "affectnet7": r"affectnet_(training|validation)-cls7(?:-v\d+)?\.txt|(\w+)_annotations_7class\.txt",
    "affectnet8": r"affectnet_(training|validation)-cls8(?:-v\d+)?\.txt|(\w+)_annotations_8class\.txt",
}
_CSV_COLUMNS = {**CSV_COLUMNS, "image_name": "path", "image name": "path", "img_path": "path", "phase": "split"}


def list_split(name: str, dataset: str) -> str | None:
    """Return the split that a list file of this dataset holds, by its name; None for other files."""
    match = re.fullmatch(_LISTS.get(dataset, ""), name)
    split = next(filter(None, match.groups()), "") if match else ""
    return SPLIT_OF.get(split.lower())


def has_lists(path: Path, dataset: str) -> bool:
    """Return whether a path is a list file of this dataset, by its name, or a folder with one."""
    names = file_names(path) if path.is_dir() else {path.name}
    return any(list_split(name, dataset) for name in names)


def read_coded(path: Path, options: Options, dataset: str, codes: Mapping[int, str]) -> Table:
    """Read a dataset from list files, a .csv table or class folders, labeled by code or by name.

    Args:
        path: A list file, a .csv table, or a folder with list files or class folders.
        options: Options of the caller; the root of the images is used.
        dataset: A key of `CLASSES`.
        codes: Class name of each code.

    Raises:
        InputError: Labels are out of range, images are missing, or the layout is another one.
    """
    if path.is_dir() and not has_lists(path, dataset):
        return coded(read_class_folders(path), dataset, codes)
    rows = _rows(_files(path, dataset))
    root = options.image_root or (path if path.is_dir() else path.parent)
    if dataset == "raf_db" and path.suffix.lower() != ".csv":  # official codes count from 1, these lists count from 0
        codes = dict(enumerate(CLASSES[dataset]))
    return coded(listed(path, root, rows), dataset, codes)


def coded(table: Table, dataset: str, codes: Mapping[int, str]) -> Table:
    """Convert the labels of a table to the classes of a dataset, and drop images of other classes.

    Raises:
        InputError: A label is neither a code nor a class name of the dataset.
    """
    labels = named(table, codes)
    known = replace(table, labels=labels, classes=CLASSES[dataset], dataset=dataset)
    return known if set(labels) <= set(CLASSES[dataset]) else known.only(CLASSES[dataset])


def _rows(files: list[tuple[Path, str | None]]) -> Rows:
    """Concatenate the rows of list files, each with the split in its file name."""
    if files[0][0].suffix.lower() == ".csv":
        return csv_rows(files[0][0], _CSV_COLUMNS)
    paths: list[str] = []
    labels: list[str] = []
    splits: list[str] = []
    for file, split in files:
        rows = text_rows(file)
        paths += rows.paths
        labels += rows.labels
        splits += [split] * len(rows.paths) if split else []
    return Rows(paths, labels, splits or None)


def _files(path: Path, dataset: str) -> list[tuple[Path, str | None]]:
    """Return the list files to read, each with its split."""
    if not path.is_dir():
        split = list_split(path.name, dataset)
        if split is None and path.suffix.lower() != ".csv" and dataset == "raf_db":
            raise LayoutError(
                f"the name of {path} does not determine whether its labels count from 0 or 1",
                ("list_patition_label.txt (from 1)", "raf_db_basic_train.txt and raf_db_basic_test.txt (from 0)"),
            )
        return [(path, split)]
    found: dict[str, Path] = {}
    for name in sorted(file_names(path)):
        split = list_split(name, dataset)
        if split in found:
            raise InputError(f"{path} holds two lists of the {split} split, {found[split].name} and {name}; remove one")
        if split:
            found[split] = path / name
    return [(found[split], split) for split in SPLITS if split in found]
