"""Read ExpW (Zhang et al., IJCV 2018): pictures with several faces, each with a box."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qcs.data.labels import CODES
from qcs.data.readers.coded import coded, read_coded
from qcs.data.readers.files import check_present, first_of, repeated, text_errors
from qcs.data.readers.list_file import columns_after
from qcs.data.readers.options import Format, Options
from qcs.data.readers.table import Table
from qcs.errors import InputError

_LIST = "label.lst"
_LISTS = (_LIST, f"label/{_LIST}", f"data/label/{_LIST}")
_IMAGES = ("image/origin", "origin", "image", "images", "data/image/origin", "data/image")
_COLUMNS = "image_name face_id top left right bottom confidence label"
_LAYOUT = (
    f"FOLDER/label/{_LIST} (lines '{_COLUMNS}', labels 0 to 6)",
    "FOLDER/image/origin/<image_name>",
    "or a folder per class, named 0 to 6 or by expression",
)


class _Face(NamedTuple):
    """A line of the list; the box is (left, top, right, bottom)."""

    image: str
    face: str
    box: tuple[int, ...]
    label: str


def _recognizes(path: Path) -> bool:
    if path.is_dir():
        return any((path / place).is_file() for place in _LISTS)
    if path.name != _LIST:
        return False
    try:
        with text_errors(path), path.open(encoding="utf-8-sig") as file:
            return len(file.readline().split()) == len(_COLUMNS.split())
    except InputError:
        return False


def _read(path: Path, options: Options) -> Table:
    found = path if path.is_file() else next((path / place for place in _LISTS if (path / place).is_file()), None)
    if found is None or found.name != _LIST:
        return read_coded(path, options, "expw", CODES["expw"])
    root = path if path.is_dir() else (path.parents[1] if path.parent.name == "label" else path.parent)
    folder = options.image_root or first_of(root, _IMAGES, _LAYOUT)
    faces = list(_faces(found))
    images = [os.path.join(folder, face.image) for face in faces]
    names = [f"{face.image}#{face.face}" for face in faces]
    check_present(images, folder, found)
    boxes = np.array([face.box for face in faces], dtype=np.int64).reshape(-1, 4)
    table = Table(found, images, [face.label for face in faces], names, boxes=boxes, remarks=repeated(names))
    return coded(table, "expw", CODES["expw"])


def _faces(path: Path) -> Iterator[_Face]:
    with text_errors(path), path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            # The name may contain spaces; seven numbers follow it.
            columns = line.strip().rsplit(maxsplit=7)
            if not columns:
                continue
            numbers = [text for text in columns[1:6] if text.removeprefix("-").isdecimal() and len(text) < 10]
            if len(columns) != 8 or len(numbers) != 5 or columns_after(columns[0]):
                raise InputError(f"{path} line {number} is {line.strip()[:200]!r}; expected {_COLUMNS}")
            top, left, right, bottom = map(int, numbers[1:])
            if left >= right or top >= bottom:
                raise InputError(
                    f"{path} line {number}: the box top {top}, left {left}, right {right}, bottom {bottom} is empty; "
                    f"correct it or remove the line"
                )
            yield _Face(columns[0], columns[1], (left, top, right, bottom), columns[7])


EXPW = Format(_LAYOUT, _recognizes, _read)
