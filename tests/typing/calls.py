"""What a type checker knows of calls: checked by mypy and pyright, never run."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import assert_type

from qcs.branches import BranchLogits
from qcs.layers import (
    ChannelGate,
    ContrastiveResidualDistillation,
    CrossSimilarityAttention,
    DualCrossModule,
    LevelTokens,
    QuadrupletCrossModule,
    QuadrupletCrossSimilarityAttention,
    ScaledDotProductCrossAttention,
    TokenTransformer,
)
from qcs.losses import JointLoss
from qcs.models import CrossSimilarityNetwork, IRNet, fast_inference_model

Pair = tuple[Tensor, Tensor]
Quadruplet = tuple[Tensor, Tensor, Tensor, Tensor]


def layers(x: Tensor, flag: bool) -> None:
    """Two or four tensors; with attention, a pair of those and of the attention."""
    for pairs in (CrossSimilarityAttention(8), ScaledDotProductCrossAttention(8), DualCrossModule(8)):
        assert_type(pairs(x, x), Pair)
        assert_type(pairs(x, x, return_attention=True), tuple[Pair, Pair])
        assert_type(pairs(x, x, return_attention=flag), Pair | tuple[Pair, Pair])
        assert_type(pairs.forward(x, x), Pair)
    for quadruplets in (QuadrupletCrossSimilarityAttention(8), QuadrupletCrossModule(8)):
        assert_type(quadruplets(x, x, x, x), Quadruplet)
        assert_type(quadruplets(x, x, x, x, return_attention=True), tuple[Quadruplet, Quadruplet])
        assert_type(quadruplets(x, x, x, x, return_attention=flag), Quadruplet | tuple[Quadruplet, Quadruplet])
    z_a, z_p = DualCrossModule(8)(x, x)
    assert_type(z_a, Tensor)
    assert_type(ContrastiveResidualDistillation(8, 4, 3)(z_a, z_p), Tensor)
    assert_type(TokenTransformer(8, 4, 3)(x), Tensor)
    assert_type(LevelTokens([8], [7], 7, 8)([x]), Tensor)
    assert_type(ChannelGate(8)(x), Tensor)


def losses(out: BranchLogits, labels: Tensor) -> None:
    """Scalars by name."""
    assert_type(JointLoss()(out, labels), dict[str, Tensor])


def networks(model: CrossSimilarityNetwork, x: Tensor, branches: list[Tensor], flag: bool) -> None:
    """Logits of one image, `BranchLogits` of two or four."""
    assert_type(model(x), Tensor)
    assert_type(model(x, x), BranchLogits)
    assert_type(model(x, x, x, x), BranchLogits)
    assert_type(model(x, x, x, x, return_attention=flag), BranchLogits)
    assert_type(model(*branches), BranchLogits)
    assert_type(model.forward(x), Tensor)
    assert_type(model(x, x).base, Tensor)
    assert_type(model(x, x).cross, Tensor | None)
    assert_type(model.forward_intermediates(x), tuple[Tensor, list[Tensor]])
    assert_type(model.forward_intermediates(x, intermediates_only=True), list[Tensor])
    assert_type(model.inference_model()(x), Tensor)
    assert_type(fast_inference_model(model)(x), Tensor)
    assert_type(IRNet()(x), Tensor)
    assert_type(IRNet().forward_intermediates(x, [1], intermediates_only=True), list[Tensor])
