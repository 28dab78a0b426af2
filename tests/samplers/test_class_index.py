from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from qcs.errors import InputError
from qcs.samplers.class_index import ClassIndex, Indices

NAMES = ["sad", "happy", "fear", "sad", "happy", "sad", "happy", "happy", "sad", "sad", "fear", "fear"]
CODES = [{"fear": 0, "happy": 1, "sad": 2}[name] for name in NAMES]
COUNTS = np.bincount(CODES)
SAME = np.equal.outer(CODES, CODES)

INTS = [3 * code - 1 for code in CODES]  # with a negative class and gaps
FORMS = {
    "list of ints": INTS,
    "tuple": tuple(INTS),
    "array": np.array(INTS, dtype=np.int16),
    "tensor": torch.tensor(INTS),
    "list of NumPy ints": list(np.array(INTS)),
    "list of names": NAMES,
    "array of names": np.array(NAMES),
    "object array of names": np.array(NAMES, dtype=object),
}


@pytest.mark.parametrize("labels", FORMS.values(), ids=FORMS.keys())
def test_every_form_of_labels_gives_the_same_classes(labels: Any) -> None:
    index = ClassIndex(labels)
    assert len(index) == 12
    assert index.codes.tolist() == CODES
    assert index.counts.tolist() == COUNTS.tolist()
    assert index.names.tolist() in (["fear", "happy", "sad"], [-1, 2, 5])


# For each draw: the probability of image j (column) for the given image i (row).
EXPECTED = {
    "same class": (ClassIndex.draw_same_class, (SAME & ~np.eye(12, dtype=bool)) / (COUNTS[CODES] - 1)),
    "cross class": (ClassIndex.draw_cross_class, ~SAME / (12 - COUNTS[CODES])[:, None]),
    "members": (lambda index, rng, i: index.draw_members(rng, index.codes[i]), SAME / COUNTS[CODES]),
}


@pytest.mark.parametrize(("draw", "probability"), EXPECTED.values(), ids=EXPECTED.keys())
def test_images_are_drawn_uniformly_among_those_allowed(
    draw: Callable[[ClassIndex, np.random.Generator, Indices], Indices], probability: np.ndarray
) -> None:
    repeats = 20_000
    images = np.repeat(np.arange(12), repeats)
    drawn = draw(ClassIndex(NAMES), np.random.default_rng(1), images)
    seen = np.zeros((12, 12))
    np.add.at(seen, (images, drawn), 1)
    allowed = probability > 0
    assert not seen[~allowed].any()
    assert chi_square_is_plausible(seen[allowed], repeats * probability[allowed], fixed=12)


def test_classes_are_drawn_uniformly_among_the_others() -> None:
    repeats = 20_000
    images = np.repeat([0, 1, 2], repeats)  # one of each class
    drawn = ClassIndex(NAMES).draw_other_classes(np.random.default_rng(1), images)
    seen = np.zeros((3, 3))
    np.add.at(seen, (np.array(CODES)[images], drawn), 1)
    others = ~np.eye(3, dtype=bool)
    assert not seen.diagonal().any()
    assert chi_square_is_plausible(seen[others], np.full(6, repeats / 2), fixed=3)


def test_the_only_image_of_a_class_is_its_own_classmate() -> None:
    index = ClassIndex([7, 8, 8, 9])
    drawn = index.draw_same_class(np.random.default_rng(0), np.array([0, 3] * 50))
    assert drawn.tolist() == [0, 3] * 50


BAD_LABELS = {
    "empty": ([], "labels are empty"),
    "2-D": (np.zeros((3, 2), dtype=int), r"one-dimensional, got shape \(3, 2\)"),
    "0-d": (torch.tensor(3), r"one-dimensional, got shape \(\)"),
    "one string": ("sad", r"one-dimensional, got shape \(\)"),
    "ragged": ([[1], [1, 2]], "one-dimensional, got a nested sequence"),
    "floats": (torch.tensor([0.5, 1.0]), r"got float \(first at labels\[0\] = 0.5\)"),
    "bools": ([True, False], r"got bool \(first at labels\[0\] = True\)"),
    "mixture": ([1, 2, "sad"], r"got int \(first at labels\[0\] = 1\) and str \(first at labels\[2\] = 'sad'\)"),
    "missing": (["sad", None], r"and NoneType \(first at labels\[1\] = None\)"),
}


@pytest.mark.parametrize(("labels", "message"), BAD_LABELS.values(), ids=BAD_LABELS.keys())
def test_unusable_labels_are_refused_by_name(labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ClassIndex(labels)


def chi_square_is_plausible(seen: np.ndarray, expected: np.ndarray, fixed: int) -> bool:
    """Whether the statistic lies within five standard deviations of its mean, given `fixed` known sums."""
    freedom = seen.size - fixed
    statistic = ((seen - expected) ** 2 / expected).sum()
    return bool(abs(statistic - freedom) < 5 * np.sqrt(2 * freedom))
