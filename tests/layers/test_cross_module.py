"""Cross modules against their block formula, written out for one image at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from qcs.errors import InputError
from qcs.layers import DualCrossModule, QuadrupletCrossModule
from qcs.layers.cross_similarity import ScaledDotProductCrossAttention

DIM = 8
LENGTHS = {"equal": (5, 5, 5, 5), "unequal": (3, 5, 4, 2)}
KINDS = {
    "dual": (DualCrossModule, {}),
    "dual sdpa": (DualCrossModule, {"attention": "sdpa"}),
    "quadruplet": (QuadrupletCrossModule, {}),
    "quadruplet s": (QuadrupletCrossModule, {"matrices": "s"}),
    "quadruplet d": (QuadrupletCrossModule, {"matrices": "d"}),
}
each_kind = pytest.mark.parametrize(("module_class", "options"), KINDS.values(), ids=KINDS)


def build(module_class: type[Any], **options: Any) -> Any:
    """A module whose norms, too, have weights that matter."""
    module = module_class(DIM, **options)
    for norm in (module.norm1, module.norm2):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    return module


def draw(lengths: tuple[int, ...], batch: int = 3) -> list[Tensor]:
    return [torch.randn(batch, n, DIM) for n in lengths]


def normed(x: Tensor, norm: Any) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias


def feed_forward(x: Tensor, mlp: Any) -> Tensor:
    return F.gelu(x @ mlp.fc1.weight.T + mlp.fc1.bias) @ mlp.fc2.weight.T + mlp.fc2.bias


@each_kind
@pytest.mark.parametrize("residual", ["normalized", "identity"])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_module_is_its_formula(
    module_class: type[Any], options: dict[str, Any], residual: str, lengths: tuple[int, ...]
) -> None:
    module = build(module_class, residual=residual, **options)
    images = draw(lengths[: module.branches])
    hats = [normed(x, module.norm1) for x in images]
    attended, attention = module.attention(*hats, return_attention=True)
    expected = []
    for x, hat, y in zip(images, hats, attended, strict=True):
        mixed = (hat if residual == "normalized" else x) + y
        second = normed(mixed, module.norm2)
        expected.append((second if residual == "normalized" else mixed) + feed_forward(second, module.mlp))
    assert_close(module(*images), tuple(expected))
    assert_close(module(*images, return_attention=True), (tuple(expected), attention))


@each_kind
def test_every_parameter_receives_a_gradient(module_class: type[Any], options: dict[str, Any]) -> None:
    module = build(module_class, **options)
    sum(y.square().sum() for y in module(*draw((5,) * module.branches))).backward()
    assert all(p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize("module_class", [DualCrossModule, QuadrupletCrossModule])
@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_scope_reaches_the_attention(module_class: type[Any], scope: str) -> None:
    module = build(module_class, scope=scope)
    images = draw((5,) * module.branches)
    alone, among = module(*[x[:1] for x in images])[0], module(*images)[0][:1]
    assert torch.allclose(alone, among, atol=1e-6) == (scope == "sample")


@pytest.mark.parametrize("module_class", [DualCrossModule, QuadrupletCrossModule])
def test_backend_reaches_the_attention(module_class: type[Any]) -> None:
    assert module_class(DIM, backend="reference").attention.backend == "reference"
    with pytest.raises(InputError, match="unknown backend 'fast'"):
        module_class(DIM, backend="fast")


def test_published_residual_is_the_default_and_the_mlp_four_times_as_wide() -> None:
    for module in (DualCrossModule(DIM), QuadrupletCrossModule(DIM)):
        assert module.residual == "normalized"
        assert module.mlp.fc1.weight.shape == (4 * DIM, DIM)
    assert DualCrossModule(DIM, mlp_ratio=2.0).mlp.fc1.weight.shape == (2 * DIM, DIM)


def test_ablation_replaces_the_attention_alone() -> None:
    module = DualCrossModule(DIM, attention="sdpa")
    assert isinstance(module.attention, ScaledDotProductCrossAttention)
    assert module.state_dict().keys() == DualCrossModule(DIM).state_dict().keys()


@pytest.mark.parametrize(
    ("module_class", "options", "message"),
    [
        (DualCrossModule, {"residual": "none"}, "residual must be one of normalized, identity; got 'none'"),
        (DualCrossModule, {"attention": "mha"}, "attention must be one of csa, sdpa; got 'mha'"),
        (DualCrossModule, {"scope": "all"}, "scope must be one of"),
        (QuadrupletCrossModule, {"residual": "none"}, "residual must be one of"),
        (QuadrupletCrossModule, {"matrices": "x"}, "matrices must be one of"),
    ],
    ids=str,
)
def test_unknown_options_are_refused(module_class: type[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        module_class(DIM, **options)


@each_kind
def test_tokens_that_do_not_fit_are_refused(module_class: type[Any], options: dict[str, Any]) -> None:
    module = module_class(DIM, **options)
    with pytest.raises(InputError, match="batch size and channels"):
        module(*draw((5,) * (module.branches - 1)), torch.zeros(2, 5, DIM))
    with pytest.raises(InputError, match=r"expected tokens \(B, N, 8\), got shape \(2, 5, 9\)"):
        module(*torch.zeros(module.branches, 2, 5, 9))


@pytest.mark.parametrize(
    "module", [QuadrupletCrossModule(8), DualCrossModule(8), DualCrossModule(8, attention="sdpa")], ids=str
)
def test_padding_changes_no_other_token(module: Any) -> None:
    tokens = torch.randn(module.branches, 3, 6, 8)
    masks = [torch.arange(6).expand(3, 6) >= 4] * module.branches
    for padded, short in zip(module(*tokens, key_padding_mask=masks), module(*tokens[:, :, :4]), strict=True):
        torch.testing.assert_close(padded[:, :4], short)
