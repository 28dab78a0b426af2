"""One optimizer step: several batches are one, gradients are held, weights are averaged, bad losses do no harm."""

from __future__ import annotations

import copy
import math
from typing import Any, cast

import pytest
import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.testing import assert_close

from qcs.engine.training.sam import SAM
from qcs.engine.training.step import Batch, TrainingStep
from qcs.errors import InputError
from qcs.losses import JointLoss


class Classifier(nn.Module):
    """Treats every image alike, whatever lies beside it in the batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3)).double()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


def batch(size: int, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 3, 2, 2, generator=generator, dtype=torch.float64)
    return [images], torch.randint(0, 3, (1, size), generator=generator)


def step(
    model: nn.Module, rho: float = 0.0, clip_grad: float | None = None, ema: ModelEmaV3 | None = None
) -> TrainingStep:
    optimizer = SAM(torch.optim.SGD(model.parameters(), lr=0.5), rho)
    return TrainingStep(model, optimizer, JointLoss(), Accelerator(cpu=True), clip_grad=clip_grad, ema=ema)


@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_several_batches_are_one_large_batch_with_sam_too(rho: float) -> None:
    pieces = [batch(4, 1), batch(4, 2)]
    whole: Batch = [torch.cat([x[0] for x, _ in pieces])], torch.cat([y for _, y in pieces], 1)
    accumulated, together = Classifier(), Classifier()
    values, expected = step(accumulated, rho)(pieces), step(together, rho)([whole])
    for got, wanted in zip(accumulated.parameters(), together.parameters(), strict=True):
        assert_close(got, wanted, rtol=0, atol=1e-14)
    for name in expected:
        assert_close(values[name], expected[name], rtol=0, atol=1e-12)


def test_the_gradient_that_the_optimizer_gets_is_clipped() -> None:
    model = Classifier()
    before = copy.deepcopy(model)
    step(model, clip_grad=0.01)([batch(4, 1)])
    change = [a - b for a, b in zip(model.parameters(), before.parameters(), strict=True)]
    moved = torch.cat([c.flatten() for c in change]).norm()
    assert_close(moved, torch.tensor(0.5 * 0.01, dtype=torch.float64), rtol=1e-4, atol=0)


def test_the_average_follows_the_weights() -> None:
    model = Classifier()
    ema = ModelEmaV3(model, decay=0.5)
    take = step(model, ema=ema)
    take([batch(4, 1)])
    first = copy.deepcopy(model)  # of one step the average is that step
    take([batch(4, 2)])
    for average, before, now in zip(ema.module.parameters(), first.parameters(), model.parameters(), strict=True):
        assert_close(average, (before + now) / 2)


def test_a_compiled_network_steps_as_it_would_and_is_averaged() -> None:
    plain, model = Classifier(), Classifier()
    ema, expected = ModelEmaV3(model, decay=0.5), ModelEmaV3(plain, decay=0.5)
    compiled = cast(Classifier, torch.compile(model, backend="eager"))
    take, take_plain = step(compiled, rho=0.1, ema=ema), step(plain, rho=0.1, ema=expected)
    for seed in (1, 2):
        take([batch(4, seed)]), take_plain([batch(4, seed)])
    assert_close(ema.module.state_dict(), expected.module.state_dict())


@pytest.mark.parametrize("bad_call", [1, 2])
def test_a_loss_that_is_no_number_leaves_the_weights_as_they_were(
    bad_call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = JointLoss.forward, [0]

    def forward(self: JointLoss, *args: Any) -> dict[str, Tensor]:
        calls[0] += 1
        losses = original(self, *args)
        return {**losses, "loss": losses["loss"] * (math.nan if calls[0] == bad_call else 1)}

    monkeypatch.setattr(JointLoss, "forward", forward)
    model = Classifier()
    before = copy.deepcopy(model)
    with pytest.raises(InputError, match=r"the loss became nan in step 1; try a smaller learning rate than 0\.5"):
        step(model, rho=0.1)([batch(4, 1)])
    for now, then in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(now, then)
