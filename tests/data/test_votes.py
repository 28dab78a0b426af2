from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qcs.data.labels import CLASSES
from qcs.data.votes import majority
from qcs.errors import InputError


def majority_of_one(votes: list[int]) -> int:
    """The rule in words: forget lone votes; one class must hold more than half of the votes that remain."""
    remaining = [count if count > 1 else 0 for count in votes]
    for column, count in enumerate(remaining):
        if count > sum(remaining) / 2:
            return column if column < 8 else -1
    return -1


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([6, 0, 1, 2, 0, 0, 0, 0, 1, 0], 0),  # lone votes do not count against the winner
        ([0, 0, 0, 0, 2, 1, 0, 7, 0, 0], 7),
        ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], -1),  # half is not more than half
        ([4, 3, 0, 0, 0, 0, 0, 0, 2, 0], -1),  # "unknown" counts in the total
        ([2, 1, 1, 1, 1, 1, 1, 1, 1, 0], 0),  # two votes win where all others are alone
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], -1),  # nothing remains
        ([0, 1, 0, 0, 0, 0, 0, 0, 9, 0], -1),  # agreed to be unknown
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], -1),  # agreed to be no face
    ],
)
def test_hand_made_cases(votes: list[int], expected: int) -> None:
    assert majority([votes]).tolist() == [expected]


def test_agrees_with_a_plain_loop_on_random_votes() -> None:
    generator = np.random.default_rng(0)
    votes = np.stack([generator.multinomial(10, generator.dirichlet([0.3] * 10)) for _ in range(2000)])
    expected = [majority_of_one(row) for row in votes.tolist()]
    assert majority(votes.astype(np.uint8)).tolist() == expected
    assert set(expected) == set(range(-1, 8)), "the random votes do not reach every outcome"


def test_large_counts_do_not_overflow_their_type() -> None:
    assert majority(np.array([[200, 90, 0, 0, 0, 0, 0, 0, 0, 0]], np.uint8)).tolist() == [0]
    assert majority(np.array([[130, 90, 90, 0, 0, 0, 0, 0, 0, 0]], np.uint8)).tolist() == [-1]


def test_published_counts_on_ferplus(shared_data: Path) -> None:
    with np.load(shared_data / "ferplus.npz", allow_pickle=False) as archive:
        labels, split = majority(archive["votes"]), archive["split"]
    assert labels.dtype == np.int64
    assert [int((labels[split == code] >= 0).sum()) for code in range(3)] == [25057, 3199, 3152]
    validation = np.bincount(labels[(split == 1) & (labels >= 0)]).tolist()
    assert dict(zip(CLASSES["ferplus"], validation, strict=True)) == {
        "neutral": 1182,
        "happy": 865,
        "surprise": 415,
        "sad": 351,
        "anger": 287,
        "disgust": 24,
        "fear": 62,
        "contempt": 13,
    }


@pytest.mark.parametrize("votes", [[[1] * 8], [1] * 10, [[0.5] * 10], [[-1] + [0] * 9]])
def test_anything_but_ten_counts_per_image_is_refused(votes: Any) -> None:
    with pytest.raises(InputError, match="expected non-negative whole numbers"):
        majority(votes)
