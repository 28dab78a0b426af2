"""The joint loss against plain loops over classifiers, images and classes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from qcs.branches import BRANCHES, BranchLogits
from qcs.errors import InputError
from qcs.losses import JointLoss, kl_distillation, l2_distillation

BATCH, CLASSES = 3, 5
LABELS = torch.tensor([[0, 4, 2], [0, 4, 2], [1, 3, 3], [1, 3, 3]])
each_count = pytest.mark.parametrize("branches", [2, 4])


def draw(branches: int = 4, cross: bool = True) -> BranchLogits:
    def logits() -> Tensor:
        return torch.randn(branches, BATCH, CLASSES, dtype=torch.float64, requires_grad=True)

    return BranchLogits(base=logits(), cross=logits() if cross else None)


def soft(labels: Tensor) -> Tensor:
    """Class probabilities that no index could say."""
    return 0.7 * torch.nn.functional.one_hot(labels, CLASSES).double() + 0.3 / CLASSES


def cross_entropy(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> float:
    """Mean over images of one classifier; targets are indices or probabilities."""
    total = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        aim = target if isinstance(target, list) else [float(k == target) for k in range(CLASSES)]
        log_sum = math.log(sum(math.exp(x) for x in row))
        total -= sum(((1 - smoothing) * p + smoothing / CLASSES) * (x - log_sum) for x, p in zip(row, aim, strict=True))
    return total / len(logits)


@each_count
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("as_labels", [lambda y: y, soft], ids=["indices", "probabilities"])
def test_loss_is_the_mean_cross_entropy_of_all_classifiers(branches: int, smoothing: float, as_labels: Any) -> None:
    out, labels = draw(branches), as_labels(LABELS[:branches])
    losses = JointLoss(label_smoothing=smoothing)(out, labels)
    expected = {}
    for name, logits in (("base", out.base), ("cross", out.cross)):
        terms = [cross_entropy(x, y, smoothing) for x, y in zip(logits, labels, strict=True)]
        expected[name] = sum(terms) / branches
        expected |= {f"{name}/{b}": term for b, term in zip(BRANCHES[branches], terms, strict=True)}
    expected |= {"loss": (expected["base"] + expected["cross"]) / 2, "distillation": 0.0}
    assert {name: float(value.detach()) for name, value in losses.items()} == pytest.approx(expected)


def test_class_weights_make_the_cross_entropy_a_weighted_mean() -> None:
    out, labels = draw(2), LABELS[1:3]
    weights = torch.tensor([1.0, 2.0, 5.0, 3.0, 0.5], dtype=torch.float64)
    losses = JointLoss(class_weights=weights)(out, labels)
    share = weights[labels[1]] / weights[labels[1]].sum()
    expected = -(share * out.base[1].log_softmax(-1).gather(1, labels[1].unsqueeze(1)).squeeze(1)).sum()
    torch.testing.assert_close(losses["base/positive"], expected)


@pytest.mark.parametrize("branches", [1, 2, 4])
def test_a_base_network_is_judged_by_its_own_classifiers(branches: int) -> None:
    losses = JointLoss()(draw(branches, cross=False), LABELS[:branches])
    assert set(losses) == {"loss", "base", "distillation", *(f"base/{b}" for b in BRANCHES[branches])}
    assert losses["loss"] == losses["base"]


@each_count
def test_distillation_terms_are_means_over_branches_added_with_their_weights(branches: int) -> None:
    out = draw(branches)
    plain = JointLoss()(out, LABELS[:branches])
    losses = JointLoss({"kl": 0.5, "l2": 2.0}, temperature=3.0)(out, LABELS[:branches])
    pairs = list(zip(out.base, out.cross, strict=True))
    kl = sum(kl_distillation(s, t, 3.0) for s, t in pairs) / branches
    l2 = sum(l2_distillation(s, t) for s, t in pairs) / branches
    assert_close((losses["kl"], losses["l2"]), (kl, l2))
    assert_close(losses["distillation"], 0.5 * kl + 2.0 * l2)
    assert_close(losses["loss"], plain["loss"] + losses["distillation"])


@pytest.mark.parametrize("term", ["kl", "l2"])
@pytest.mark.parametrize("detach_teacher", [True, False])
def test_teacher_learns_from_distillation_only_if_asked(term: str, detach_teacher: bool) -> None:
    out = draw()
    loss = JointLoss({term: 1.0}, detach_teacher=detach_teacher)(out, LABELS)["distillation"]
    student, teacher = torch.autograd.grad(loss, (out.base, out.cross), allow_unused=True)
    assert student.any()
    assert (teacher is None) == detach_teacher


def test_teacher_is_detached_by_default_and_still_learns_from_the_labels() -> None:
    out = draw()
    plain, distilled = (JointLoss(terms)(out, LABELS)["loss"] for terms in (None, {"kl": 1.0}))
    assert_close(torch.autograd.grad(distilled, out.cross), torch.autograd.grad(plain, out.cross))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.full((4, BATCH), 5), "labels must be in 0..4, got 5"),
        (torch.full((4, BATCH), -1), "labels must be in 0..4, got -1"),
        (LABELS[0], r"expected labels of shape \(4, 3\), got \(3,\)"),
        (LABELS[:2], r"expected labels of shape \(4, 3\), got \(2, 3\)"),
        (LABELS.int(), "expected labels as int64 indices or floating-point probabilities, got torch.int32"),
        (LABELS.double(), r"expected labels of shape \(4, 3, 5\), got \(4, 3\)"),
    ],
    ids=["above", "below", "no branches", "too few branches", "int32", "floats"],
)
def test_labels_that_do_not_fit_are_refused(labels: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        JointLoss()(draw(), labels)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (BranchLogits(torch.zeros(4, 3, 5), torch.zeros(2, 3, 5)), r"differ: \(4, 3, 5\) and \(2, 3, 5\)"),
        (BranchLogits(torch.zeros(3, 3, 5), None), r"of 1, 2 or 4 branches, got \(3, 3, 5\)"),
        (BranchLogits(torch.zeros(3, 5), None), r"expected logits \(branches, B, classes\).*got \(3, 5\)"),
    ],
    ids=["cross", "three branches", "no branches"],
)
def test_logits_that_do_not_fit_are_refused(out: BranchLogits, message: str) -> None:
    with pytest.raises(InputError, match=message):
        JointLoss()(out, LABELS[: len(out.base)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distillation": {"mse": 1.0}}, "distillation takes weights of at least 0 for .*'kl', 'l2'.*got 'mse': 1.0"),
        ({"distillation": {"kl": -1.0}}, "distillation takes weights of at least 0 .*got 'kl': -1.0"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"class_weights": torch.tensor([1.0, -1.0])}, "class_weights must have one weight of at least 0 per class"),
        ({"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\), got 1.0"),
        ({"label_smoothing": -0.1}, r"label_smoothing must be in \[0, 1\), got -0.1"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        JointLoss(**options)


def test_distillation_without_a_teacher_is_refused() -> None:
    with pytest.raises(InputError, match=r"distillation needs cross logits; .* leave distillation=None"):
        JointLoss({"kl": 1.0})(draw(1, cross=False), LABELS[:1])
