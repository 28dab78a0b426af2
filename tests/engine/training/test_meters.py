"""Averages over an epoch."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator

from qcs.branches import BranchLogits
from qcs.engine.training.meters import AverageMeter, accuracies


def test_means_weigh_every_batch_by_its_images() -> None:
    means = AverageMeter()
    means.add({"loss": torch.tensor(1.0), "accuracy": torch.tensor(0.5)}, weight=24)
    means.add({"loss": torch.tensor(2.0), "accuracy": torch.tensor(1.0)}, weight=8)
    assert means.values() == {"loss": 1.25, "accuracy": 0.625}
    assert means.values(Accelerator()) == means.values()


def test_means_hold_no_graph() -> None:
    means = AverageMeter()
    means.add({"loss": torch.ones((), requires_grad=True) * 3}, weight=1)
    assert not means._sums["loss"].requires_grad


def test_accuracies_are_shares_over_all_branches_of_base_and_cross() -> None:
    labels = torch.tensor([[0, 1, 2], [0, 1, 2]])
    base = torch.eye(3)[torch.tensor([[0, 1, 2], [0, 0, 0]])]
    cross = torch.eye(3)[torch.tensor([[0, 2, 1], [1, 2, 0]])]
    both = accuracies(BranchLogits(base, cross), labels)
    assert both["base_accuracy"].item() == pytest.approx(4 / 6)
    assert both["cross_accuracy"].item() == pytest.approx(1 / 6)
    assert accuracies(BranchLogits(base, None), labels).keys() == {"base_accuracy"}
