"""Evaluation against counts and sums written out by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qcs.engine import Evaluation, evaluate
from qcs.errors import InputError

CLASSES = ("happy", "sad", "fear", "anger")  # no image is of fear

# Truth and prediction of ten images: 3 of 5 happy, 1 of 2 sad and 2 of 3 angry faces are recognized.
TRUTH = [0, 0, 0, 0, 0, 1, 1, 3, 3, 3]
TAKEN_FOR = [0, 0, 0, 1, 2, 1, 0, 3, 3, 2]
CONFUSION = [[3, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 2]]


def logits() -> Tensor:
    return torch.randn(10, 4) + 8 * torch.eye(4)[TAKEN_FOR]


def batches(outputs: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """As batches of images for a network that hands them on."""
    return list(zip(outputs.split(size), torch.tensor(TRUTH).split(size), strict=True))


def test_counts_and_shares_are_those_counted_by_hand() -> None:
    result = evaluate(nn.Identity(), batches(logits(), 4), CLASSES)
    assert result.confusion.tolist() == CONFUSION
    assert (result.images, result.accuracy) == (10, 0.6)
    assert result.per_class_counts == {"happy": (3, 5), "sad": (1, 2), "anger": (2, 3)}
    assert result.correct == 6
    assert result.per_class == {"happy": 3 / 5, "sad": 1 / 2, "anger": 2 / 3}
    assert result.balanced_accuracy == pytest.approx((3 / 5 + 1 / 2 + 2 / 3) / 3)


@pytest.mark.parametrize("size", [1, 4, 10])
def test_the_loss_is_the_mean_over_images_however_they_are_batched(size: int) -> None:
    outputs = logits()
    by_hand = [
        math.log(sum(math.exp(x) for x in row)) - row[label] for row, label in zip(outputs.tolist(), TRUTH, strict=True)
    ]
    assert evaluate(nn.Identity(), batches(outputs, size), CLASSES).loss == pytest.approx(sum(by_hand) / 10, rel=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_evaluated_in_evaluation_mode_and_left_in_its_own(training: bool) -> None:
    modes = []
    network = nn.Identity().train(training)
    network.register_forward_hook(lambda module, *_: modes.append(module.training))
    evaluate(network, batches(logits(), 10), CLASSES)
    assert modes == [False]
    assert network.training == training


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
def test_logits_or_a_loss_that_are_not_finite_are_refused(value: float) -> None:
    outputs = logits()
    outputs[7, 3], outputs[7, 0] = -value, value  # its class is 3; in the third of four batches
    with pytest.raises(InputError, match="the network gives logits or a loss that are not finite: its weights hold"):
        evaluate(nn.Identity(), batches(outputs, 3), CLASSES)


def test_the_record_survives_json() -> None:
    result = Evaluation(np.array(CONFUSION), 0.5, CLASSES)
    record = json.loads(json.dumps(result.to_dict()))
    assert record == {
        "images": 10,
        "accuracy": 0.6,
        "balanced_accuracy": result.balanced_accuracy,
        "loss": 0.5,
        "per_class_accuracy": result.per_class,
        "classes": list(CLASSES),
        "confusion": CONFUSION,
    }
    again = Evaluation.from_dict({**record, "best_epoch": 3})
    assert again.to_dict() == record
    assert again.confusion.dtype == result.confusion.dtype


@pytest.mark.parametrize(
    "changes",
    [
        {"confusion": None},
        {"confusion": [[1, 2], [3, 4]]},
        {"confusion": [[-1, 0, 0, 0], *[[1, 1, 1, 1]] * 3]},
        {"confusion": [[0.5, 0, 0, 0], *[[1, 1, 1, 1]] * 3]},
        {"confusion": [[0] * 4] * 4},
        {"loss": "low"},
        {"classes": None},
    ],
)
def test_a_record_without_loss_classes_and_counts_is_refused(changes: dict[str, Any]) -> None:
    record = {**Evaluation(np.array(CONFUSION), 0.5, CLASSES).to_dict(), **changes}
    with pytest.raises(InputError, match="expected loss, classes and a confusion matrix of image counts"):
        Evaluation.from_dict({name: value for name, value in record.items() if value is not None})
