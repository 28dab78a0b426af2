"""Sharpness-aware minimization against its definition, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qcs.engine.training import SAM
from qcs.errors import InputError

INPUTS = torch.linspace(-1, 1, 24, dtype=torch.float64).view(6, 4)
TARGETS = torch.tensor([0, 1, 2, 2, 1, 0])


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def loss_at(model: nn.Module, weights: list[Tensor]) -> Tensor:
    names = [name for name, _ in model.named_parameters()]
    return F.cross_entropy(torch.func.functional_call(model, dict(zip(names, weights, strict=True)), INPUTS), TARGETS)


def gradients(model: nn.Module, weights: list[Tensor]) -> list[Tensor]:
    leaves = [w.detach().clone().requires_grad_() for w in weights]
    return list(torch.autograd.grad(loss_at(model, leaves), leaves))


def by_hand(steps: int, rho: float, lr: float) -> list[Tensor]:
    """SAM over Adam, written out: two gradients per step, one norm over all parameters, moments of the second."""
    model = network()
    weights = [p.detach().clone() for p in model.parameters()]
    first = [torch.zeros_like(w) for w in weights]
    second = [torch.zeros_like(w) for w in weights]
    for step in range(1, steps + 1):
        slopes = gradients(model, weights)
        norm = sum(float((g**2).sum()) for g in slopes) ** 0.5
        climbed = [w + rho * g / norm for w, g in zip(weights, slopes, strict=True)]
        for w, m, v, g in zip(weights, first, second, gradients(model, climbed), strict=True):
            m.mul_(0.9).add_(0.1 * g)
            v.mul_(0.999).add_(0.001 * g**2)
            w -= lr * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
    return weights


def by_sam(steps: int, rho: float, lr: float, climb: bool = True) -> list[Tensor]:
    model = network()
    sam = SAM(torch.optim.Adam(model.parameters(), lr=lr), rho)
    for _ in range(steps):
        for ascend in (True, False) if climb else (False,):
            sam.zero_grad()
            F.cross_entropy(model(INPUTS), TARGETS).backward()
            if ascend:
                sam.climb()
        sam.step()
    return [p.detach() for p in model.parameters()]


def test_five_steps_equal_the_two_pass_definition() -> None:
    for ours, expected in zip(by_sam(5, 0.05, 0.01), by_hand(5, 0.05, 0.01), strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    assert not torch.allclose(by_sam(5, 0.05, 0.01)[0], by_sam(5, 0.0, 0.01)[0], rtol=0, atol=1e-6)


def test_without_radius_one_pass_is_the_plain_optimizer() -> None:
    one_pass, two_passes, plain = by_sam(5, 0.0, 0.01, climb=False), by_sam(5, 0.0, 0.01), by_hand(5, 0.0, 0.01)
    for a, b, c in zip(one_pass, two_passes, plain, strict=True):
        torch.testing.assert_close(a, c, rtol=0, atol=1e-12)
        torch.testing.assert_close(b, c, rtol=0, atol=1e-12)


def test_the_climb_is_as_long_as_the_radius_over_all_parameters() -> None:
    model = network()
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    sam = SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.3)
    F.cross_entropy(model(INPUTS), TARGETS).backward()
    sam.climb()
    climbed = nn.utils.parameters_to_vector(model.parameters()).detach()
    assert float((climbed - before).norm()) == pytest.approx(0.3, rel=1e-12)


def test_parameters_without_gradient_stay_and_a_zero_gradient_moves_nothing() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    sam = SAM(torch.optim.SGD([used, unused], lr=0.1), rho=0.05)
    (0 * used).sum().backward()
    sam.climb()
    sam.step()
    assert used.tolist() == [1, 1]
    assert unused.tolist() == [1, 1]


def test_a_negative_radius_is_refused() -> None:
    with pytest.raises(InputError, match=r"rho must be at least 0, got -0\.1"):
        SAM(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1), rho=-0.1)
