"""Read groups of images, such as gender, age or source, from a .csv list, and compare the results of groups."""

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
FEW = 10  # people, or images if people are unknown: fewer give no meaningful confidence interval
NOT_STATED = "not stated"
NAMES = ("path", "image_name", "img_path", "name")  # columns that identify the image

Groups = dict[str, npt.NDArray[np.str_]]  # group of each image (n,), by column


def read_groups(path: Path, columns: Sequence[str], images: Sequence[str]) -> Groups:
    """Read the groups of images from a .csv list.

    Args:
        path: The list; its column `path` (or `image_name`, `img_path`, `name`) holds the names of the images.
        columns: Columns that hold groups; empty means the column `group`, if there is one.
        images: Names of the images.

    Returns:
        The group of each image by column; "not stated" if the cell is empty or the image is not in the list.

    Raises:
        InputError: If the list cannot be read, lacks a requested column, or names none of the images.
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
    positions = [header.index(column) for column in wanted]
    found: dict[str, list[str]] = {}
    for _, cells in lines:
        cells += [""] * (len(header) - len(cells))
        found[cells[header.index(name)]] = [cells[column] or NOT_STATED for column in positions]
    if not any(image in found for image in images):
        raise InputError(f"{path} names none of the test images, the first of which is {next(iter(images), '')}")
    rows = [found.get(image, [NOT_STATED] * len(wanted)) for image in images]
    return {column: np.array([row[i] for row in rows]) for i, column in enumerate(wanted)}


@dataclass(frozen=True)
class GroupResult:
    """The results of a network on the images of one group.

    Attributes:
        name: Name of the group.
        images: Number of images.
        people: Number of people on the images; None if unknown.
        accuracy: Accuracy in [0, 1] with its confidence interval.
        balanced: Balanced accuracy over the classes of the group, with its bootstrap confidence interval.
        gap: Accuracy minus the accuracy on all other images.
        balanced_gap: Balanced accuracy minus that on all other images, over the classes that both have.
        few: Whether either side of the gaps has fewer than 10 people or images, too few for a conclusion.
    """

    name: str
    images: int
    people: int | None
    accuracy: Estimate
    balanced: Estimate
    gap: Estimate
    balanced_gap: Estimate
    few: bool


def compare_groups(predictions: Predictions, groups: npt.NDArray[np.str_]) -> list[GroupResult]:
    """Return the result of each group, largest first; empty if there are fewer than two groups."""
    names, counts = np.unique(groups, return_counts=True)
    if len(names) < 2:
        return []
    return [_result(predictions, str(names[row]), groups == names[row]) for row in np.argsort(-counts, kind="stable")]


def _result(predictions: Predictions, name: str, members: npt.NDArray[np.bool_]) -> GroupResult:
    resampling = (len(predictions.labels), predictions.subjects)
    units = np.arange(len(members)) if predictions.subjects is None else predictions.subjects
    both = np.intersect1d(predictions.labels[members], predictions.labels[~members])
    sides = (balanced_accuracy(predictions, members, both), balanced_accuracy(predictions, ~members, both))
    return GroupResult(
        name=name,
        images=int(members.sum()),
        people=None if predictions.subjects is None else len(np.unique(predictions.subjects[members])),
        accuracy=accuracy_of(predictions, members),
        balanced=bootstrap(balanced_accuracy(predictions, members), *resampling),
        gap=bootstrap(difference(accuracy(predictions, members), accuracy(predictions, ~members)), *resampling),
        balanced_gap=bootstrap(difference(*sides), *resampling),
        few=min(len(np.unique(units[side])) for side in (members, ~members)) < FEW,
    )
