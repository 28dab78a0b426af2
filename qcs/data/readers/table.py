"""Hold the images of a source as a table, one row per image, and convert it to datasets."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qcs.data.dataset import LabeledImages, Pixels
from qcs.data.labels import CANONICAL, canonical, class_indices
from qcs.errors import InputError

SPLITS = ("train", "validation", "test")
"""Names of the splits; the split codes 0, 1, 2 of an archive index this tuple."""

SPLIT_OF = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_SPLIT_CODES: dict[int | None, str] = dict(enumerate(SPLITS))


@dataclass(frozen=True)
class Table:
    """The images of one source, one row each.

    Attributes:
        source: Path to name in errors.
        images: Pixels or paths.
        labels: Class names or integers, as text.
        names: Name of each image.
        splits: Split names or codes, as stored.
        classes: Class names in index order, if the source or its format defines them.
        dataset: Dataset of the images, a key of `CLASSES`.
        voted: Whether the labels come from crowd votes.
        soft: Soft targets (n, classes).
        subjects: Person on each image.
        boxes: Left, top, right, bottom, (n, 4).
        dropped: Number of images left out, by reason.
        remarks: Further lines for the summary.
    """

    source: Path
    images: Pixels | Sequence[str]
    labels: Sequence[str]
    names: Sequence[str] | npt.NDArray[np.str_] | None = None
    splits: Sequence[str] | None = None
    classes: tuple[str, ...] | None = None
    dataset: str | None = None
    voted: bool = False
    soft: npt.NDArray[np.float32] | None = None
    subjects: Sequence[str] | None = None
    boxes: npt.NDArray[np.int64] | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def keep(self, wanted: npt.NDArray[np.bool_], dropped: Mapping[str, int]) -> Table:
        """Return the selected rows; `dropped` counts the others by reason."""
        rows = np.flatnonzero(wanted)
        columns = {"images", "labels", "names", "splits", "soft", "subjects", "boxes"}
        kept = {f.name: _rows(getattr(self, f.name), rows) for f in fields(self) if f.name in columns}
        return replace(self, **kept, dropped={**self.dropped, **dropped})

    def only(self, classes: tuple[str, ...]) -> Table:
        """Return the rows whose label is one of these names."""
        wanted = np.array([label in classes for label in self.labels], dtype=bool)
        return self.keep(wanted, Counter(label for label in self.labels if label not in classes))


def datasets(table: Table, classes: Sequence[str] | None) -> dict[str, LabeledImages]:
    """Convert a table to a dataset for each split.

    Args:
        table: The images.
        classes: Class names in index order: names for integer labels without names, else a selection of classes.

    Raises:
        InputError: Labels, splits or pixels are invalid.
    """
    if not len(table.labels):
        raise InputError(f"{table.source} holds no labeled images")
    known = table.classes
    if known is None and classes is not None and None not in map(_number, set(table.labels)):
        known, classes = tuple(classes), None
    indices, order = _indices(table, known)
    optional: dict[str, Any] = {
        "names": table.names,
        "soft": table.soft,
        "subjects": table.subjects,
        "boxes": table.boxes,
    }
    try:
        whole = LabeledImages(table.images, indices, order, **optional)
    except InputError as error:
        raise InputError(f"{table.source}: {error}") from error
    found = None if table.splits is None else _splits(table, whole)
    if classes is not None:
        wanted = np.array([index is not None for index in class_indices(whole.classes, classes)])[whole.labels]
        whole, found = _chosen(whole, classes, table.source), None if found is None else found[wanted]
    if found is None:
        return {"all": whole}
    return {name: whole.subset(found == name) for name in SPLITS if (found == name).any()}


def named(table: Table, meaning: Mapping[int, str]) -> list[str]:
    """Convert labels, names or codes of the dataset, to class names.

    Raises:
        InputError: The dataset does not have a label; names the image.
    """
    known = {label: _meaning(label, meaning) for label in set(table.labels)}
    if None in known.values():
        row = next(row for row, label in enumerate(table.labels) if known[label] is None)
        image = table.names[row] if table.names is not None else row
        raise InputError(
            f"{table.source}: label {table.labels[row]} of image {image} (row {row}) is out of range; expected "
            f"{', '.join(f'{code} {name}' for code, name in meaning.items())}"
        )
    return [known[label] or "" for label in table.labels]


def _meaning(label: str, meaning: Mapping[int, str]) -> str | None:
    number = _number(label)
    if number is not None:
        return meaning.get(number)
    name = canonical(label)
    return name if name in meaning.values() else None


def _rows(column: Any, rows: npt.NDArray[np.int64]) -> Any:
    if column is None:
        return None
    return column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows]


def _splits(table: Table, whole: LabeledImages) -> npt.NDArray[np.str_]:
    stored = table.splits or []
    meaning = {split: SPLIT_OF.get(split.lower(), _SPLIT_CODES.get(_number(split), "")) for split in set(stored)}
    found = np.array([meaning[split] for split in stored])
    if "" in meaning.values():
        row = int(np.flatnonzero(found == "")[0])
        raise InputError(
            f"{table.source}: split {stored[row]!r} of image {whole.names[row]} (row {row}) is unknown; "
            f"expected train, validation (or val, valid) or test"
        )
    return found


def _chosen(whole: LabeledImages, classes: Sequence[str], source: Path) -> LabeledImages:
    """Return the images of these classes; warn about images left out."""
    chosen = whole.with_classes(classes)
    left_out = [f"{name} {n:,}" for name, n in whole.class_counts().items() if n and name not in chosen.classes]
    if left_out:
        warnings.warn(
            f"{source}: left out {len(whole) - len(chosen):,} of {len(whole):,} images, whose classes are not among "
            f"{', '.join(chosen.classes)}: {', '.join(left_out)}",
            stacklevel=4,
        )
    return chosen


def _indices(table: Table, classes: Sequence[str] | None) -> tuple[list[int], Sequence[str]]:
    """Return the class index of each label and the class names; labels are all integers or all names."""
    present = set(table.labels)
    numbers = {label: number for label in present if (number := _number(label)) is not None}
    if len(numbers) == len(present):
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


def _number(label: str) -> int | None:
    """Return the integer that a label is, also as pandas writes it in a column with gaps (3.0); None for a name."""
    digits = re.fullmatch(r"(-?\d{1,18})(?:\.0*)?", label)  # longer ones do not fit an int64
    return int(digits[1]) if digits else None


def _numbered(source: Path, numbers: set[int]) -> list[str]:
    absent = [number for number in range(len(numbers)) if number not in numbers]
    if absent:
        raise InputError(
            f"{source}: labels are numbers from {min(numbers)} to {max(numbers)} without {absent[0]}; expected every "
            f"number from 0: renumber them, give the names of all classes in index order, or use names as labels"
        )
    return [str(number) for number in range(len(numbers))]


def _order(found: set[str]) -> list[str]:
    return [name for name in CANONICAL if name in found] if found <= set(CANONICAL) else sorted(found, key=_in_order)


def _in_order(name: str) -> tuple[bool, int, str]:
    """Sort numbers by value, before names."""
    number = _number(name)
    return number is None, number or 0, name
