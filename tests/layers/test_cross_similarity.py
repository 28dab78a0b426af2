"""Attention layers against their formula, written out image by image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from qcs import functional as QF
from qcs.errors import InputError
from qcs.layers import (
    CrossSimilarityAttention,
    QuadrupletCrossSimilarityAttention,
    ScaledDotProductCrossAttention,
)

DIM = 8
LENGTHS = {"equal": (5, 5, 5, 5), "unequal": (3, 5, 4, 2)}
each_lengths = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
each_layer = pytest.mark.parametrize(
    "layer_class", [CrossSimilarityAttention, QuadrupletCrossSimilarityAttention, ScaledDotProductCrossAttention]
)


def draw(lengths: tuple[int, ...], batch: int = 3) -> list[Tensor]:
    return [torch.randn(batch, n, DIM) for n in lengths]


def halves(layer: Any, images: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Query-keys and values of every image: first and last half of the projection."""
    weight, bias = layer.proj.weight, layer.proj.bias
    assert weight.shape == (2 * DIM, DIM)
    qk = [x @ weight[:DIM].T + bias[:DIM] for x in images]
    values = [x @ weight[DIM:].T + bias[DIM:] for x in images]
    return qk, values


def weighted(values: list[Tensor], weights: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(w[..., None] * v for v, w in zip(values, weights, strict=True))


@each_lengths
@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_dual_weighs_every_images_own_values(lengths: tuple[int, ...], scope: Any) -> None:
    layer, images = CrossSimilarityAttention(DIM, scope=scope), draw(lengths[:2])
    qk, values = halves(layer, images)
    weights = QF.cross_similarity(*qk, scope=scope)
    expected = weighted(values, weights)
    assert_close(layer(*images), expected)
    assert_close(layer(*images, return_attention=True), (expected, weights))


@each_lengths
@pytest.mark.parametrize("scope", ["batch", "sample"])
@pytest.mark.parametrize("matrices", ["s", "d", "sd"])
def test_quadruplet_weighs_every_images_own_values(lengths: tuple[int, ...], matrices: Any, scope: Any) -> None:
    layer, images = QuadrupletCrossSimilarityAttention(DIM, matrices=matrices, scope=scope), draw(lengths)
    gain = 1.0
    if layer.theta is not None:
        nn.init.constant_(layer.theta, 0.3)
        gain = 1 + torch.tensor(0.3).tanh()
    qk, values = halves(layer, images)
    weights = QF.quadruplet_cross_similarity(*qk, gain, matrices=matrices, scope=scope)
    expected = weighted(values, weights)
    assert_close(layer(*images), expected)
    assert_close(layer(*images, return_attention=True), (expected, weights))


@each_lengths
def test_dot_product_attention_takes_the_other_images_values(lengths: tuple[int, ...]) -> None:
    layer, images = ScaledDotProductCrossAttention(DIM), draw(lengths[:2])
    (qk_a, qk_p), (v_a, v_p) = halves(layer, images)
    map_a, map_p = QF.scaled_dot_product_maps(qk_a, qk_p)
    expected = (map_a @ v_p, map_p @ v_a)
    assert_close(layer(*images), expected)
    assert_close(layer(*images, return_attention=True), (expected, (map_a, map_p)))


def test_gain_starts_at_one_and_learns() -> None:
    layer = QuadrupletCrossSimilarityAttention(DIM)
    assert layer.gain == 1
    sum(y.square().sum() for y in layer(*draw((5, 5, 5, 5)))).backward()
    assert layer.theta.grad.abs() > 0


@pytest.mark.parametrize("matrices", ["s", "d"])
def test_ablations_have_no_theta(matrices: Any) -> None:
    layer = QuadrupletCrossSimilarityAttention(DIM, matrices=matrices)
    assert layer.theta is None
    assert set(layer.state_dict()) == {"proj.weight", "proj.bias"}


def test_options_are_printed() -> None:
    assert "(dim=8, scope='sample'" in str(CrossSimilarityAttention(DIM, scope="sample")).replace("\n  ", "")
    printed = str(QuadrupletCrossSimilarityAttention(DIM, matrices="s")).replace("\n  ", "")
    assert "(dim=8, matrices='s', scope='batch'" in printed


@each_layer
def test_every_parameter_receives_a_gradient(layer_class: type[Any]) -> None:
    layer = layer_class(DIM)
    sum(y.square().sum() for y in layer(*draw((5,) * layer.branches))).backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())


@each_layer
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(2, 5, DIM + 1), r"x_a and x_\w+ must agree in batch size and channels.*\(2, 5, 9\)"),
        (torch.zeros(3, 5, DIM), r"x_a and x_\w+ must agree in batch size and channels.*\(3, 5, 8\)"),
        (torch.zeros(5, DIM), r"x_\w+ must have shape \(B, N, C\).*\(5, 8\)"),
        (torch.zeros(2, 5, DIM).double(), r"x_a and x_\w+ must have one dtype and device.*torch.float64"),
    ],
    ids=["width", "batch", "dimensions", "dtype"],
)
def test_tokens_that_do_not_fit_are_refused(layer_class: type[Any], bad: Tensor, message: str) -> None:
    layer = layer_class(DIM)
    with pytest.raises(InputError, match=message):
        layer(*draw((5,) * (layer.branches - 1), batch=2), bad)
    with pytest.raises(InputError, match=r"expected tokens \(B, N, 8\), got shape \(2, 5, 9\)"):
        layer(*torch.zeros(layer.branches, 2, 5, 9))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CrossSimilarityAttention(0), "dim must be at least 1 channel, got 0"),
        (
            lambda: CrossSimilarityAttention(DIM, scope="all"),
            "scope must be one of batch, sample, world; got 'all'",
        ),
        (lambda: QuadrupletCrossSimilarityAttention(DIM, scope="all"), "scope must be one of"),
        (lambda: QuadrupletCrossSimilarityAttention(DIM, matrices="x"), "matrices must be one of s, d, sd"),
    ],
    ids=["dim", "dual scope", "quadruplet scope", "matrices"],
)
def test_unknown_options_are_refused(build: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()


@pytest.mark.parametrize("layer_class", [CrossSimilarityAttention, QuadrupletCrossSimilarityAttention])
def test_unknown_backend_is_refused_at_once(layer_class: type[Any]) -> None:
    with pytest.raises(InputError, match="unknown backend 'fast'"):
        layer_class(DIM, backend="fast")


@pytest.mark.parametrize("layer_class", [CrossSimilarityAttention, QuadrupletCrossSimilarityAttention])
def test_backend_reaches_the_operator(layer_class: type[Any]) -> None:
    layer = layer_class(DIM)
    layer.backend = "fast"
    with pytest.raises(InputError, match="unknown backend 'fast'"):
        layer(*draw((5,) * layer.branches))
