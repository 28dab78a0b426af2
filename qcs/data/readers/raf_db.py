"""Read the basic expressions of RAF-DB (Li, Deng and Du, CVPR 2017): official list and aligned faces."""

from __future__ import annotations

import os
from pathlib import Path

from qcs.data.labels import CODES
from qcs.data.readers.coded import coded, has_lists, read_coded
from qcs.data.readers.files import check_present, first_of, repeated, text_errors
from qcs.data.readers.list_file import Rows
from qcs.data.readers.options import Format, Options
from qcs.data.readers.table import Table
from qcs.errors import InputError

_LIST = "list_patition_label.txt"  # sic
_LISTS = (_LIST, f"EmoLabel/{_LIST}", f"basic/EmoLabel/{_LIST}")
_IMAGES = ("Image/aligned", "aligned", "basic/Image/aligned")
_LAYOUT = (
    f"FOLDER/EmoLabel/{_LIST} (lines 'train_00001.jpg 5', labels 1 to 7)",
    "FOLDER/Image/aligned/train_00001_aligned.jpg",
    "or FOLDER/raf_db_basic_{train,test}.txt (labels 0 to 6)",
    "or a folder per class, named 1 to 7 or by expression",
)


def _recognizes(path: Path) -> bool:
    official = path.name == _LIST if path.is_file() else any((path / place).is_file() for place in _LISTS)
    return official or has_lists(path, "raf_db")


def _read(path: Path, options: Options) -> Table:
    if path.name == _LIST:
        root = path.parents[1] if path.parent.name == "EmoLabel" else path.parent
        return _official(path, root, options)
    found = [path / place for place in _LISTS if (path / place).is_file()]
    return _official(found[0], path, options) if found else read_coded(path, options, "raf_db", CODES["raf_db"])


def _official(source: Path, root: Path, options: Options) -> Table:
    rows, remarks = _official_rows(source)
    folder = options.image_root or first_of(root, _IMAGES, _LAYOUT)
    names, splits = rows.paths, [path.partition("_")[0] for path in rows.paths]
    if strays := {*splits} - {"train", "test"}:
        row = next(row for row, split in enumerate(splits) if split in strays)
        raise InputError(f"{source}: image {names[row]} (row {row}) has no split; expected train_... or test_...")
    images = [os.path.join(folder, f"{os.path.splitext(name)[0]}_aligned.jpg") for name in names]
    check_present(images, folder, source)
    table = Table(source, images, rows.labels, names, splits, remarks=(*remarks, *repeated(names)))
    return coded(table, "raf_db", CODES["raf_db"])


def _official_rows(source: Path) -> tuple[Rows, tuple[str, ...]]:
    """Read name and label; some copies of the list have further columns, which are not the label."""
    names: list[str] = []
    labels: list[str] = []
    longer = 0
    with text_errors(source), source.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            columns = line.split()
            if len(columns) == 1:
                raise InputError(f"{source} line {number} is {line.strip()!r}; expected a path, a space and a label")
            if columns:
                names.append(columns[0])
                labels.append(columns[1])
                longer += len(columns) > 2
    ignored = (f"{longer:,} lines have more than two columns; the second is read as the label",) if longer else ()
    return Rows(names, labels), ignored


RAF_DB = Format(_LAYOUT, _recognizes, _read)
