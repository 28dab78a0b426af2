"""Read FER2013 (Goodfellow et al., ICONIP 2013): a .csv table with the pixels of 48x48 faces in its cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qcs.data.dataset import Pixels
from qcs.data.labels import CODES
from qcs.data.readers.coded import coded, read_coded
from qcs.data.readers.files import csv_lines, header
from qcs.data.readers.layout import LayoutError
from qcs.data.readers.options import Format, Options
from qcs.data.readers.table import Table
from qcs.errors import InputError

SIDE = 48
TABLES = ("fer2013.csv", "icml_face_data.csv")
_COLUMNS = ("emotion", "pixels", "Usage")
USAGES = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
_LAYOUT = ("a .csv file with the columns emotion,pixels,Usage (fer2013.csv or icml_face_data.csv), or its folder",)


class PixelTable(NamedTuple):
    """The columns of the table: pixels (n, 48, 48), codes and splits."""

    images: Pixels
    codes: list[str]
    splits: list[str]


def has_pixels(path: Path) -> bool:
    """Return whether a path is a table of pixels."""
    return path.suffix.lower() == ".csv" and {*_COLUMNS} <= {*header(path)}


def pixel_table(path: Path) -> PixelTable:
    """Read all rows of a table of pixels.

    Raises:
        InputError: A column is missing or a cell is invalid; names the line.
    """
    pixels, codes, splits = bytearray(), [], []
    for number, row in _rows(path):
        pixels += _pixels(path, number, row["pixels"])
        codes.append(row["emotion"])
        splits.append(usage(path, number, row["Usage"]))
    return PixelTable(np.frombuffer(pixels, dtype=np.uint8).reshape(-1, SIDE, SIDE), codes, splits)


def usage(path: Path, number: int, text: str) -> str:
    """Return the split of a `Usage` cell.

    Raises:
        InputError: The cell is none of the three.
    """
    if text not in USAGES:
        raise InputError(f"{path} line {number}: Usage is {text!r}; expected {', '.join(USAGES)}")
    return USAGES[text]


def read_pixels(path: Path, dataset: str, codes: Mapping[int, str]) -> Table:
    """Read a table of pixels with the classes of a dataset.

    Raises:
        InputError: As for `pixel_table`, or labels are out of range.
    """
    rows = pixel_table(path)
    names = [f"fer{row:07d}.png" for row in range(len(rows.codes))]  # as FERPlus names them
    return coded(Table(path, rows.images, rows.codes, names, rows.splits), dataset, codes)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    lines = csv_lines(path)
    names = next(lines, (0, []))[1]
    if not {*_COLUMNS} <= {*names}:
        raise LayoutError(f"{path} has the header {','.join(names)[:200] or 'empty'}", _LAYOUT)
    for number, cells in lines:
        if len(cells) != len(names):
            raise InputError(f"{path} line {number} has {len(cells)} cells; expected {len(names)}")
        yield number, dict(zip(names, cells, strict=True))


def _pixels(path: Path, number: int, text: str) -> bytes:
    try:
        values = np.fromstring(text, dtype=np.int64, sep=" ")
    except ValueError:
        values = np.empty(0, dtype=np.int64)
    if len(values) != SIDE * SIDE or values.min() < 0 or values.max() > 255:
        raise InputError(
            f"{path} line {number}: pixels are {len(text.split()):,} values; expected {SIDE * SIDE:,} integers "
            f"from 0 to 255, separated by spaces"
        )
    return values.astype(np.uint8).tobytes()


def _recognizes(path: Path) -> bool:
    return any((path / name).is_file() for name in TABLES) if path.is_dir() else has_pixels(path)


def _read(path: Path, options: Options) -> Table:
    for name in TABLES:
        if (path / name).is_file():
            path = path / name
    if path.is_dir() or (path.suffix.lower() == ".csv" and not has_pixels(path) and "label" in header(path)):
        return read_coded(path, options, "fer2013", CODES["fer2013"])
    return read_pixels(path, "fer2013", CODES["fer2013"])


FER2013 = Format((*_LAYOUT, "or a folder per class, named 0 to 6 or by expression"), _recognizes, _read)
