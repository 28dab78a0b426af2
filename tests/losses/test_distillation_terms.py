"""Distillation terms equal plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from qcs.errors import InputError
from qcs.losses import kl_distillation, l2_distillation


def draw() -> tuple[Tensor, Tensor]:
    student, teacher = (torch.randn(3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    return student, teacher


def softmax(logits: Sequence[float]) -> list[float]:
    exponentials = [math.exp(x) for x in logits]
    return [x / sum(exponentials) for x in exponentials]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kl_equals_plain_loops(temperature: float) -> None:
    student, teacher = draw()
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        soft_s, soft_t = softmax([x / temperature for x in s]), softmax([x / temperature for x in t])
        total += sum(y * math.log(y / x) for x, y in zip(soft_s, soft_t, strict=True))
    assert kl_distillation(student, teacher, temperature).item() == pytest.approx(total / 3 * temperature**2)


def test_l2_equals_plain_loops() -> None:
    student, teacher = draw()
    distance = math.dist(student.flatten().tolist(), teacher.flatten().tolist())
    assert l2_distillation(student, teacher).item() == pytest.approx(distance / 3)


@pytest.mark.parametrize("term", [kl_distillation, l2_distillation])
def test_gradients_equal_finite_differences(term: Callable[..., Tensor]) -> None:
    assert torch.autograd.gradcheck(term, draw())


@pytest.mark.parametrize("term", [kl_distillation, l2_distillation])
def test_equal_logits_have_zero_loss_and_gradient(term: Callable[..., Tensor]) -> None:
    student = draw()[0]
    loss = term(student, student.detach().clone())
    (gradient,) = torch.autograd.grad(loss, student)
    assert_close(loss, torch.zeros((), dtype=torch.float64))
    assert_close(gradient, torch.zeros(3, 5, dtype=torch.float64))


@pytest.mark.parametrize("term", [kl_distillation, l2_distillation])
@pytest.mark.parametrize("shapes", [((3, 5), (3, 4)), ((3, 5), (2, 5)), ((5,), (5,)), ((1, 3, 5),) * 2], ids=str)
def test_logits_that_do_not_fit_are_refused(term: Callable[..., Tensor], shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(InputError, match=r"must be logits \(B, K\) of one shape"):
        term(*map(torch.zeros, shapes))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperature_must_be_above_zero(temperature: float) -> None:
    with pytest.raises(InputError, match="temperature must be above 0"):
        kl_distillation(torch.zeros(3, 5), torch.zeros(3, 5), temperature)
