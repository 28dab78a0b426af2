"""Read a list of paths and labels, as text or .csv."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from qcs.data.images import image_suffixes
from qcs.data.readers.files import check_present, csv_lines, repeated, text_errors
from qcs.data.readers.table import Table
from qcs.errors import InputError

LAYOUT = (
    "a .txt or .lst file of lines 'path label'",
    "or a .csv file with the columns path,label and optionally split and subject",
)
CSV_COLUMNS = {"path": "path", "label": "label", "split": "split", "subject": "subject"}


class Rows(NamedTuple):
    """The rows of a list by column, which is compact: AffectNet has 287,651 rows."""

    paths: list[str]
    labels: list[str]
    splits: list[str] | None = None
    subjects: list[str] | None = None


def read_list(path: Path, image_root: Path | None) -> Table:
    """Read a list; all its images must exist.

    Raises:
        InputError: A line lacks path or label, an image is missing, or the file is not text.
    """
    rows = csv_rows(path, CSV_COLUMNS) if path.suffix.lower() == ".csv" else text_rows(path)
    return listed(path, path.parent if image_root is None else image_root, rows)


def listed(source: Path, root: Path, rows: Rows) -> Table:
    """Return the table of the rows of a list.

    Raises:
        InputError: An image is missing.
    """
    folder = os.fspath(root)
    images = [os.path.join(folder, path) for path in rows.paths]
    check_present(images, root, source)
    return Table(
        source, images, rows.labels, rows.paths, rows.splits, subjects=rows.subjects, remarks=repeated(rows.paths)
    )


def text_rows(path: Path) -> Rows:
    """Read the rows of a text list; the path may contain spaces, the label may not.

    Raises:
        InputError: A line lacks a label or has more columns, or the file is not text.
    """
    paths: list[str] = []
    labels: list[str] = []
    once: dict[str, str] = {}  # interns the labels, which are few
    with text_errors(path), path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            columns = line.strip().rsplit(maxsplit=1)
            if len(columns) == 1:
                raise InputError(f"{path} line {number} is {line.strip()!r}; expected a path, a space and a label")
            if columns:
                if surplus := columns_after(columns[0]):
                    raise InputError(
                        f"{path} line {number} is {line.strip()[:200]!r}; expected a path, a space and a label, found "
                        f"{surplus!r} between them: remove all columns but the path and the label"
                    )
                paths.append(columns[0])
                labels.append(once.setdefault(columns[1], columns[1]))
    return Rows(paths, labels)


def columns_after(path: str) -> str:
    """Return what follows the image path in a text that may hold further columns; empty if it ends in the path.

    Example:
        >>> columns_after("my faces/a.jpg"), columns_after("my faces/a.jpg 5 2"), columns_after("a.jpg,")
        ('', '5 2', ',')
    """
    if os.path.splitext(path)[1].lower() in image_suffixes():
        return ""
    found = re.match(r".*(\.\w+)(?:\s+|(?=[,;]))", path)
    rest = path[found.end() :] if found and found[1].lower() in image_suffixes() else ""
    return "" if "/" in rest else rest  # a folder may be named like an image


def csv_rows(path: Path, columns: Mapping[str, str]) -> Rows:
    """Read the rows of a .csv list by column name; other columns are ignored.

    Args:
        path: The list.
        columns: Meaning of column names in lower case: path, label, split or subject.

    Raises:
        InputError: A column or cell is missing, a column occurs twice, a row is longer than the header, or the file is
            not text.
    """
    lines = csv_lines(path)
    header = next(lines, (0, []))[1]
    place: dict[str, int] = {}
    for i, name in enumerate(header):
        meaning = columns.get(name.lower())
        if meaning in place:
            raise InputError(
                f"{path} has two columns for the {meaning}, {header[place[meaning]]} and {name}; remove or rename one"
            )
        if meaning is not None:
            place[meaning] = i
    absent = [name for name in ("path", "label") if name not in place]
    if absent:
        raise InputError(
            f"{path} lacks the column {' and '.join(absent)}; its header is {','.join(header) or 'empty'}; "
            f"expected path,label and optionally split"
        )
    found: dict[str, list[str]] = {name: [] for name in place}
    for number, cells in lines:
        if any(cells[len(header) :]):
            raise InputError(
                f"{path} line {number} has {len(cells)} cells, the header {len(header)}; put cells that contain "
                "a comma in double quotes"
            )
        for name, column in place.items():
            cell = cells[column] if column < len(cells) else ""
            if not cell:
                raise InputError(f"{path} line {number} lacks its {name}; fill it in")
            found[name].append(cell)
    return Rows(found["path"], found["label"], found.get("split"), found.get("subject"))
