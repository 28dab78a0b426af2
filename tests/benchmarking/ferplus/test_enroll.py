"""Enrollment: who is enrolled, that an effect that is there is found, and that none is found where there is none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.ferplus.enroll import ENROLLED, SHIFTS, by_neutral, by_similarity, crossfitted, enrolled

PEOPLE, EACH, CLASSES = 30, 6, 4


def faces(own_look: float) -> Any:
    """Faces whose logits are shifted by a bias of their own for each person."""
    torch.manual_seed(0)
    people = np.repeat(np.arange(PEOPLE), EACH)
    labels = np.tile(np.array([0, 0, 1, 2, 3, 1]), PEOPLE)
    bias = own_look * torch.randn(PEOPLE, CLASSES)[torch.from_numpy(people)]
    logits = 2 * F.one_hot(torch.from_numpy(labels), CLASSES) + bias + 0.5 * torch.randn(len(labels), CLASSES)
    return SimpleNamespace(
        logits=logits.log_softmax(-1),
        query_keys=torch.randn(2, len(labels), 5, 8),
        labels=labels,
        people=people,
        neutral=0,
    )


def test_others_of_the_person_are_enrolled_a_neutral_one_first_and_in_the_sham_none_of_them() -> None:
    shown = faces(1.0)
    own, sham = enrolled(shown, sham=False), enrolled(shown, sham=True)
    for row, (rows, others) in enumerate(zip(own, sham, strict=True)):
        assert row not in rows and (shown.people[rows] == shown.people[row]).all() and len(rows) == ENROLLED
        assert shown.labels[rows[0]] == 0
        assert (shown.people[others] != shown.people[row]).all()
        assert (shown.labels[rows] == shown.labels[others]).all()


def test_a_look_of_ones_own_is_undone_by_the_own_neutral_and_not_by_that_of_others() -> None:
    shown = faces(2.0)

    def accuracy(answers: torch.Tensor) -> float:
        return float((answers.argmax(-1).numpy() == shown.labels).mean())

    own, strengths = crossfitted(shown, by_neutral(shown, enrolled(shown, sham=False)), SHIFTS)
    sham, _ = crossfitted(shown, by_neutral(shown, enrolled(shown, sham=True)), SHIFTS)
    assert accuracy(own) > accuracy(shown.logits) + 0.1 > accuracy(sham)
    assert min(strengths) > 0.5


def test_where_the_faces_say_nothing_they_change_nothing() -> None:
    shown = faces(0.0)
    for cross in (True, False):
        answer = by_similarity(shown, enrolled(shown, sham=False), cross=cross)
        torch.testing.assert_close(answer(0.0), shown.logits)
        assert (answer(1e3) - shown.logits).abs().max() > 1
