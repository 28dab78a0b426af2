"""Groups of images, as by gender, age or source, from a list that names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qcs.data.readers.files import csv_lines
from qcs.engine.prediction_file import Predictions
from qcs.errors import InputError
from qcs.report.statistics import Estimate, accuracy, accuracy_of, balanced_accuracy, bootstrap, difference

DEFAULT = "group"
FEW = 10  # people, or images where people are not known: an interval drawn from fewer says too little
NOT_STATED = "not stated"
NAMES = ("path", "image_name", "img_path", "name")  # columns that say which image a line is about

Groups = dict[str, npt.NDArray[np.str_]]  # column to the group of each image, (n,)


def read_groups(path: Path, columns: Sequence[str], images: Sequence[str]) -> Groups:
    """The groups of these images, by column of a .csv list.

    Args:
        path: The list; the column `path` (or `image_name`, `img_path`, `name`) holds what the data calls each image.
        columns: Which columns say groups; none means the column `group`, if there is one.
        images: What the images are called.

    Returns:
        A group for each image and column, "not stated" where the cell is empty or the image is not in the list.

    Raises:
        InputError: If the list cannot be read, lacks a wanted column, or names none of the images.
    """
    lines = csv_lines(path)
    header = [name.lower() for name in next(lines, (0, []))[1]]
    wanted = [name.lower() for name in columns or (DEFAULT,)]
    name = next((name for name in NAMES if name in header), None)
    if not columns and DEFAULT not in header:
        return {}
    if name is None or not set(wanted) <= set(header):
        raise InputError(
            f"{path} has the columns {', '.join(header) or 'of an empty file'}; expected {NAMES[0]} and "
            f"{', '.join(wanted)}; choose among them with --groups"
        )
    place = [header.index(column) for column in wanted]
    found: dict[str, list[str]] = {}
    for _, cells in lines:
        cells += [""] * (len(header) - len(cells))
        found[cells[header.index(name)]] = [cells[column] or NOT_STATED for column in place]
    if not any(image in found for image in images):
        raise InputError(f"{path} names none of the test images, the first of which is {next(iter(images), '')}")
    rows = [found.get(image, [NOT_STATED] * len(wanted)) for image in images]
    return {column: np.array([row[i] for row in rows]) for i, column in enumerate(wanted)}


@dataclass(frozen=True)
class GroupResult:
    """How well a network classifies the images of one group.

    Attributes:
        name: What the group is called.
        images: How many images it has.
        people: How many people are on them; None where that is not known.
        accuracy: Share of its images classified correctly, with its interval.
        balanced: Mean over the classes that it has, with a bootstrap interval.
        gap: Accuracy less that of all other images.
        balanced_gap: Balanced accuracy less that of all other images, over the classes that both have.
        few: Whether too few people or images stand on either side of the gaps to conclude anything from them.
    """

    name: str
    images: int
    people: int | None
    accuracy: Estimate
    balanced: Estimate
    gap: Estimate
    balanced_gap: Estimate
    few: bool


def compare_groups(shown: Predictions, groups: npt.NDArray[np.str_]) -> list[GroupResult]:
    """The result of each group, the largest first; empty if there are fewer than two."""
    names, counts = np.unique(groups, return_counts=True)
    if len(names) < 2:
        return []
    return [_result(shown, str(names[row]), groups == names[row]) for row in np.argsort(-counts, kind="stable")]


def _result(shown: Predictions, name: str, inside: npt.NDArray[np.bool_]) -> GroupResult:
    draw = (len(shown.labels), shown.subjects)
    units = np.arange(len(inside)) if shown.subjects is None else shown.subjects
    both = np.intersect1d(shown.labels[inside], shown.labels[~inside])
    sides = (balanced_accuracy(shown, inside, both), balanced_accuracy(shown, ~inside, both))
    return GroupResult(
        name=name,
        images=int(inside.sum()),
        people=None if shown.subjects is None else len(np.unique(shown.subjects[inside])),
        accuracy=accuracy_of(shown, inside),
        balanced=bootstrap(balanced_accuracy(shown, inside), *draw),
        gap=bootstrap(difference(accuracy(shown, inside), accuracy(shown, ~inside)), *draw),
        balanced_gap=bootstrap(difference(*sides), *draw),
        few=min(len(np.unique(units[side])) for side in (inside, ~inside)) < FEW,
    )
