"""Read FERPlus (Barsoum et al., ICMI 2016): crowd votes for the images of FER2013."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qcs.data.labels import CODES
from qcs.data.readers.archive import with_votes
from qcs.data.readers.coded import has_lists, read_coded
from qcs.data.readers.fer2013 import TABLES, pixel_table, usage
from qcs.data.readers.files import check_present, csv_lines, repeated
from qcs.data.readers.layout import LayoutError
from qcs.data.readers.options import Format, Options
from qcs.data.readers.table import Table
from qcs.data.votes import COLUMNS
from qcs.errors import InputError

_VOTES = "fer2013new.csv"
_HEADER = [
    "Usage", "Image name", "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt",
    "unknown", "NF",
]  # fmt: skip
_FOLDERS = {"train": "FER2013Train", "validation": "FER2013Valid", "test": "FER2013Test"}
_LAYOUT = (
    f"FOLDER/{_VOTES} (columns {','.join(_HEADER)})",
    "with FOLDER/fer2013.csv, or FOLDER/images/fer0000000.png, or FOLDER/FER2013{Train,Valid,Test}/fer0000000.png",
    "or FOLDER/FER2013{Train,Valid,Test}/label.csv beside its images",
    "or FOLDER/ferplus_{training,test}.txt (labels 0 to 7)",
)


class _Votes(NamedTuple):
    """A row of votes; the name is empty if the image is not a face."""

    name: str
    split: str
    votes: list[int]


def _recognizes(path: Path) -> bool:
    if path.is_file():
        return path.name == _VOTES or has_lists(path, "ferplus")
    return (path / _VOTES).is_file() or bool(_folds(path)) or has_lists(path, "ferplus")


def _read(path: Path, options: Options) -> Table:
    if path.is_dir() and (path / _VOTES).is_file():
        path = path / _VOTES
    if path.name == _VOTES:
        return _from_table(path, options)
    if folds := _folds(path):
        rows = [row for split, folder in folds.items() for row in _fold_rows(folder / "label.csv", split)]
        return _from_files(path, options.image_root or path, rows, options.votes)
    return read_coded(path, options, "ferplus", CODES["ferplus"])


def _folds(path: Path) -> dict[str, Path]:
    folders = {split: path / name for split, name in _FOLDERS.items()}
    return {split: folder for split, folder in folders.items() if (folder / "label.csv").is_file()}


def _from_table(path: Path, options: Options) -> Table:
    rows = list(_table_rows(path))
    tables = [path.parent / name for name in TABLES if (path.parent / name).is_file()]
    if tables and options.image_root is None:
        return _from_pixels(path, tables[0], rows, options.votes)
    return _from_files(path, options.image_root or path.parent, rows, options.votes)


def _from_pixels(path: Path, pixels: Path, rows: list[_Votes], rule: str) -> Table:
    stored = pixel_table(pixels)
    if stored.splits != [row.split for row in rows]:
        raise InputError(
            f"{path} has {len(rows):,} rows, {pixels} has {len(stored.splits):,}; expected the same number, with the "
            f"same Usage in the same order: votes refer to rows of FER2013"
        )
    names = [row.name or f"row {number}" for number, row in enumerate(rows)]
    table = Table(path, stored.images, [""] * len(rows), names, stored.splits, remarks=repeated(names))
    return with_votes(table, _array(rows), rule)


def _from_files(path: Path, root: Path, rows: list[_Votes], rule: str) -> Table:
    with_image = [row for row in rows if row.name]
    folders = {split: _image_folder(root, split) for split in {row.split for row in rows}}
    images, names = [os.path.join(folders[row.split], row.name) for row in with_image], [row.name for row in with_image]
    check_present(images, root, path)
    nameless = len(rows) - len(with_image)
    table = Table(
        path,
        images,
        [""] * len(images),
        names,
        [row.split for row in with_image],
        dropped={"no image name": nameless} if nameless else {},
        remarks=repeated(names),
    )
    return with_votes(table, _array(with_image), rule)


def _image_folder(root: Path, split: str) -> Path:
    return next((root / name for name in (_FOLDERS[split], "images") if (root / name).is_dir()), root)


def _array(rows: list[_Votes]) -> npt.NDArray[np.int64]:
    return np.array([row.votes for row in rows], dtype=np.int64).reshape(-1, COLUMNS)


def _table_rows(path: Path) -> Iterator[_Votes]:
    lines = csv_lines(path)
    header = next(lines, (0, []))[1]
    if header != _HEADER:
        raise LayoutError(f"{path} has the header {','.join(header) or 'empty'}", (",".join(_HEADER),))
    for number, cells in lines:
        votes = _counts(path, number, cells[2:])
        yield _Votes(cells[1], usage(path, number, cells[0]), votes)


def _fold_rows(path: Path, split: str) -> Iterator[_Votes]:
    """Read lines of name, box (always the whole image) and ten votes, without header."""
    for number, cells in csv_lines(path):
        yield _Votes(cells[0], split, _counts(path, number, cells[2:]))


def _counts(path: Path, number: int, cells: list[str]) -> list[int]:
    if len(cells) != COLUMNS or not all(cell.isdecimal() and len(cell) < 5 for cell in cells):
        raise InputError(f"{path} line {number} has the votes {','.join(cells) or 'none'}; expected {COLUMNS} integers")
    return [int(cell) for cell in cells]


FERPLUS = Format(_LAYOUT, _recognizes, _read)
