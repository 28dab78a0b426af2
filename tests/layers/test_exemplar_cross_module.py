"""The comparison with exemplars against its formula, what it leaves out, and what it cannot tell."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from qcs import functional as QF
from qcs.errors import InputError
from qcs.layers import ExemplarCrossModule, QuadrupletCrossModule

DIM, IMAGES, CLASSES = 8, 6, 3
OWN = torch.eye(IMAGES, CLASSES, dtype=torch.bool)


def build(**options: Any) -> ExemplarCrossModule:
    """A module whose norms, too, have weights that matter."""
    module = ExemplarCrossModule(DIM, **options).double()
    for norm in (module.norm1, module.norm2):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    return module


def tokens(images: int = IMAGES, length: int = 5) -> torch.Tensor:
    return torch.randn(images, length, DIM, dtype=torch.float64)


@pytest.mark.parametrize("residual", ["normalized", "identity"])
@pytest.mark.parametrize("attention", ["csa", "uniform"])
@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_module_is_its_formula(residual: Any, attention: Any, scope: Any) -> None:
    module, x = build(residual=residual, attention=attention, scope=scope), tokens()
    hat = F.layer_norm(x, (DIM,), module.norm1.weight, module.norm1.bias)
    qk, values = module.attention.proj(hat).split(DIM, -1)
    weights = QF.exemplar_similarity(qk, qk[:CLASSES], OWN, scope=scope)
    if attention == "uniform":
        weights = torch.full_like(weights, 1 / 5)
    mixed = (hat if residual == "normalized" else x) + weights[..., None] * values
    second = F.layer_norm(mixed, (DIM,), module.norm2.weight, module.norm2.bias)
    expected = (second if residual == "normalized" else mixed) + module.mlp(second)
    assert_close(module(x, x[:CLASSES], OWN), expected)
    assert_close(module(x, x[:CLASSES], OWN, return_attention=True), (expected, weights))


def test_it_has_the_parameters_of_a_quadruplet_module_without_its_gain() -> None:
    shapes = {name: value.shape for name, value in QuadrupletCrossModule(DIM, matrices="s").state_dict().items()}
    for attention in ("csa", "uniform"):
        module = ExemplarCrossModule(DIM, attention=attention)
        assert {name: value.shape for name, value in module.state_dict().items()} == shapes


def test_the_order_of_the_exemplars_does_not_matter() -> None:
    module, x, exemplars = build(), tokens(), tokens(CLASSES)
    assert_close(module(x, exemplars.flip(0)), module(x, exemplars))


def test_in_scope_sample_the_other_images_do_not_matter_and_in_scope_batch_they_do() -> None:
    x, exemplars = tokens(), tokens(CLASSES)
    for scope in ("sample", "batch"):
        module = build(scope=scope)
        same = torch.allclose(module(x, exemplars)[:1], module(x[:1], exemplars), rtol=0, atol=1e-12)
        assert same == (scope == "sample")


def test_the_ablation_ignores_the_exemplars() -> None:
    module, x, exemplars = build(attention="uniform"), tokens(), tokens(CLASSES).requires_grad_()
    module(x, exemplars).sum().backward()
    assert exemplars.grad is None
    assert_close(module(x, exemplars), module(x, tokens(CLASSES)), rtol=0, atol=0)


@pytest.mark.parametrize(("attention", "widths"), [("csa", [2 * DIM, DIM]), ("uniform", [DIM])])
def test_what_the_attention_does_not_use_is_not_projected(
    attention: Any, widths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    original = torch.nn.functional.linear

    def linear(*args: Any) -> torch.Tensor:
        out: torch.Tensor = original(*args)
        computed.append(out.shape[-1])
        return out

    module, x, exemplars = build(attention=attention), tokens(), tokens(CLASSES)
    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    module.attention(x, exemplars)
    assert computed == widths


def test_gradients_reach_images_exemplars_and_parameters() -> None:
    module, x, exemplars = build(), tokens().requires_grad_(), tokens(CLASSES).requires_grad_()
    (module(x, exemplars) * tokens()).sum().backward()
    assert all(value.grad is not None and value.grad.any() for value in (x, exemplars, *module.parameters()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((tokens(), tokens()[..., :4]), "must agree in channels"),
        ((tokens(), tokens().float()), "one dtype and device"),
        ((tokens()[0], tokens()), r"x must have shape \(B, N, C\)"),
        ((tokens(), tokens()[0]), r"exemplars must have shape \(B, N, C\)"),
        ((tokens(), tokens(CLASSES), OWN.T), r"mask \(B, K\) of booleans, here \(6, 3\), got torch.bool of shape"),
        ((tokens(), tokens(CLASSES), OWN.long()), "mask .* got torch.int64"),
        ((tokens()[..., :4], tokens()[..., :4]), r"expected tokens \(B, N, 8\), got shape \(6, 5, 4\)"),
    ],
    ids=["channels", "dtype", "images", "exemplars", "mask", "mask dtype", "width"],
)
def test_what_does_not_fit_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "sdpa"}, "attention must be one of csa, uniform; got 'sdpa'"),
        ({"scope": "world"}, "scope must be one of batch, sample; got 'world'"),
        ({"residual": "none"}, "residual must be one of"),
        ({"backend": "fast"}, "unknown backend 'fast'"),
    ],
    ids=str,
)
def test_unknown_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExemplarCrossModule(DIM, **options)
