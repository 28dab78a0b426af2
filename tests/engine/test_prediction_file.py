"""Predictions of single images: what a run keeps of them, and reading them back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from torch import Tensor

from qcs.data import LabeledImages
from qcs.engine.prediction_file import FILE, Predictions
from qcs.engine.training import train
from qcs.errors import InputError

LOGITS = torch.tensor([[0.0, 3.0], [2.0, 0.0], [1.0, 0.5]])
IMAGES = LabeledImages(np.zeros((3, 4, 4), np.uint8), [1, 1, 0], ["happy", "sad"], subjects=["x", "x", "y"])


def test_they_say_how_sure_the_network_is_and_whether_it_is_right() -> None:
    shown = Predictions.of(IMAGES, LOGITS)
    assert shown.predicted.tolist() == [1, 0, 0]
    assert shown.correct.tolist() == [True, False, True]
    assert shown.confidence.tolist() == pytest.approx([1 / (1 + np.exp(-gap)) for gap in (3, 2, 0.5)])


def test_they_come_back_as_they_were_saved(tmp_path: Path) -> None:
    shown = Predictions.of(IMAGES, LOGITS)
    again = Predictions.load(shown.save(tmp_path / FILE))
    assert again.classes == ("happy", "sad")
    for name in ("probabilities", "labels", "names", "subjects"):
        assert np.array_equal(getattr(again, name), getattr(shown, name))
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_run_keeps_those_that_its_test_result_counts(tmp_path: Path) -> None:
    result = train(toy.settings(output=str(tmp_path / "run"), epochs=1), toy.splits())
    kept = Predictions.load(tmp_path / "run" / FILE)
    counts = np.zeros((3, 3), int)
    np.add.at(counts, (kept.labels, kept.predicted), 1)
    assert result.test is not None
    assert counts.tolist() == result.test.confusion.tolist()
    assert kept.names.tolist() == toy.splits()["test"].names.tolist()


def corrupt(**changes: Tensor | np.ndarray | list[int]) -> dict[str, object]:
    shown = Predictions.of(IMAGES, LOGITS)
    columns = {name: getattr(shown, name) for name in ("probabilities", "labels", "names")}
    return {**columns, "classes": np.array(shown.classes), **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": np.array([0, 1, 2])},
        {"labels": np.array([0, 1])},
        {"names": np.array(["a"])},
        {"probabilities": np.full((3, 2), np.nan, np.float32)},
        {"subjects": np.array(["x"])},
        {"other": np.zeros(3)},
    ],
)
def test_columns_that_do_not_fit_are_corrupt(tmp_path: Path, changes: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / FILE, **corrupt(**changes))
    with pytest.raises(InputError, match=f"{FILE} is corrupt: "):
        Predictions.load(tmp_path / FILE)
