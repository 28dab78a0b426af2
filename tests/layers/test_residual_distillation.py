"""The four connections of base and cross features: their formula and where their gradient goes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from qcs import functional as QF
from qcs.errors import InputError
from qcs.layers import ContrastiveResidualDistillation

DIM, TOKENS = 8, 6
CONNECTIONS = ("vit", "gap", "bilinear", "none")
each_connection = pytest.mark.parametrize("connection", CONNECTIONS)


def build(connection: Any = "vit", num_classes: int = 3, **options: Any) -> ContrastiveResidualDistillation:
    return ContrastiveResidualDistillation(
        DIM, TOKENS, num_classes, connection=connection, **{"num_heads": 2, **options}
    )


def draw() -> tuple[Tensor, Tensor]:
    return torch.randn(2, TOKENS, DIM, requires_grad=True), torch.randn(2, TOKENS, DIM, requires_grad=True)


@each_connection
def test_connection_is_its_formula(connection: str) -> None:
    model, (base, cross) = build(connection), draw()
    seen = {
        "vit": base + cross,
        "gap": (base + cross).sum(1) / TOKENS,
        "bilinear": QF.bilinear_pooling(base, cross),
        "none": cross,
    }[connection]
    logits = model(base, cross)
    assert logits.shape == (2, 3)
    assert_close(logits, model.classifier(seen))


@each_connection
def test_gradient_reaches_the_base_network_through_every_connection_but_none(connection: str) -> None:
    base, cross = draw()
    gradients = torch.autograd.grad(build(connection)(base, cross).sum(), (base, cross), allow_unused=True)
    assert [g is not None and bool(g.any()) for g in gradients] == [connection != "none", True]


@each_connection
def test_every_parameter_receives_a_gradient(connection: str) -> None:
    model = build(connection)
    model(*draw()).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize(("connection", "width"), [("vit", DIM), ("gap", DIM), ("bilinear", DIM**2), ("none", DIM)])
def test_head_can_be_removed_and_replaced(connection: str, width: int) -> None:
    assert build(connection, num_classes=0)(*draw()).shape == (2, width)
    model = build(connection)
    model.reset_classifier(0)
    assert model(*draw()).shape == (2, width)
    model.reset_classifier(5)
    assert model(*draw()).shape == (2, 5)


def test_options_reach_the_transformer() -> None:
    model = build(depth=2, mlp_ratio=2.0, drop_rate=0.3, proj_drop_rate=0.1)
    blocks = model.classifier.blocks
    assert [block.mlp.fc1.out_features for block in blocks] == [2 * DIM] * 2
    assert [(block.mlp.drop1.p, block.attn.proj_drop.p) for block in blocks] == [(0.3, 0.1)] * 2


def test_unknown_connection_is_refused() -> None:
    with pytest.raises(InputError, match="connection must be one of vit, gap, bilinear, none; got 'sum'"):
        build("sum")


def test_backend_reaches_the_pooling() -> None:
    with pytest.raises(InputError, match="unknown backend 'fast'"):
        build(backend="fast")
    model = build("bilinear")
    model.backend = "fast"
    with pytest.raises(InputError, match="unknown backend 'fast'"):
        model(*draw())


def test_heads_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(InputError, match="num_heads must divide"):
        build(num_heads=3)


@each_connection
@pytest.mark.parametrize(
    "shapes", [((2, TOKENS, DIM), (3, TOKENS, DIM)), ((2, TOKENS + 1, DIM),) * 2, ((2, TOKENS, DIM + 1),) * 2], ids=str
)
def test_features_that_do_not_fit_are_refused(connection: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(InputError, match=r"expected features and cross features \(B, 6, 8\), got"):
        build(connection)(*map(torch.zeros, shapes))
