"""The registered operators among PyTorch's own: autograd, compilation, vmap, autocast, and what is refused."""

# ruff: noqa: N803
from __future__ import annotations

from typing import Any

import pytest
import torch
from ops.comparing import distances, weights
from torch import Tensor
from torch.testing import assert_close

from qcs import functional as QF
from qcs.ops import reference
from qcs.ops.output import Output

SIZES = [9, 66]
pytestmark = pytest.mark.usefixtures("wide_tiles")


def images(N: int, **options: Any) -> list[Tensor]:
    return list(torch.randn(4, 2, N, 5, **options).unbind())


@pytest.mark.parametrize("N", SIZES)
def test_registrations_pass_pytorch_s_own_checks(interpreted: Any, N: int) -> None:
    from qcs.ops.triton import operators

    tokens, gain = images(N), torch.tensor(0.7)
    torch.library.opcheck(operators.triton_weights, (tokens, gain, 1.0, "sd", "batch"))
    torch.library.opcheck(operators.triton_distance, tokens[:2])
    outputs = operators.triton_weights(tokens, gain, 1.0, "sd", "batch")
    upstream = [torch.randn_like(y) for y in outputs[:4]]
    arguments = (upstream, tokens, gain, 1.0, "sd", "batch", outputs[4:])
    torch.library.opcheck(operators.triton_weights_backward, arguments)
    torch.library.opcheck(operators.triton_distance_backward, (torch.randn(2, N, N), *tokens[:2]))


@pytest.mark.parametrize("N", SIZES)
def test_compiles_to_one_graph_with_the_same_results(interpreted: Any, N: int) -> None:
    tokens = [x.detach().requires_grad_() for x in images(N)]

    def loss(tokens: list[Tensor]) -> Tensor:
        attention = weights("sd", "batch")(interpreted, tokens, torch.tensor(0.7))
        return sum(y.square().sum() for y in [*attention, *distances(interpreted, tokens, torch.tensor(0.0))])

    expected = torch.autograd.grad(loss(tokens), tokens)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert_close(torch.autograd.grad(compiled(tokens), tokens), expected)


def test_the_public_function_compiles_to_one_graph(interpreted: Any) -> None:
    tokens = images(9)
    compiled = torch.compile(QF.quadruplet_cross_similarity, fullgraph=True, backend="aot_eager")
    assert_close(compiled(*tokens, backend="triton"), QF.quadruplet_cross_similarity(*tokens, backend="triton"))


@pytest.mark.parametrize("N", SIZES)
def test_vmap_maps_values_and_gradients(interpreted: Any, N: int) -> None:
    mapped = torch.randn(3, 2, N, 5, requires_grad=True)
    fixed = images(N)[1:]

    def loss(x: Tensor) -> Tensor:
        w = weights("s", "batch")(interpreted, [x, *fixed], torch.tensor(1.0))
        return w[0].square().sum() + distances(interpreted, [x, *fixed], torch.tensor(1.0))[0].sum()

    one_by_one = torch.stack([loss(x) for x in mapped])
    assert_close(torch.vmap(loss)(mapped), one_by_one)
    (expected,) = torch.autograd.grad(one_by_one.sum(), mapped)
    assert_close(torch.vmap(torch.func.grad(loss))(mapped.detach()), expected)


@pytest.mark.parametrize("operator", [weights("sd", "batch"), weights("dual", "sample"), distances])
def test_second_derivatives_are_those_of_the_definition(interpreted: Any, operator: Any) -> None:
    given = images(9)

    def penalty(backend: Any) -> tuple[Tensor, ...]:
        tokens = [x.clone().requires_grad_() for x in given]
        first, *_ = operator(backend, tokens, torch.tensor(0.7, requires_grad=True))
        gradient = torch.autograd.grad(first.square().sum(), tokens[0], create_graph=True)[0]
        return torch.autograd.grad(gradient.square().sum(), tokens[:2])

    assert_close(penalty(interpreted), penalty(reference), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("N", SIZES)
def test_expanded_and_absent_upstream_gradients(interpreted: Any, N: int) -> None:
    tokens = [x.requires_grad_() for x in images(N)]
    first, *_ = weights("sd", "batch")(interpreted, tokens, torch.tensor(1.0))
    expanded = torch.randn(1, N).expand(2, N)
    result = torch.autograd.grad(first, tokens, expanded, retain_graph=True)
    assert_close(result, torch.autograd.grad(first, tokens, expanded.contiguous()))
    distance = interpreted.euclidean_distance(*tokens[:2])
    ones = torch.autograd.grad(distance.sum(), tokens[:2], retain_graph=True)
    assert_close(ones, torch.autograd.grad(distance, tokens[:2], torch.ones(2, N, N)))


def test_autocast_changes_nothing(interpreted: Any) -> None:
    tokens = images(9)
    expected = weights("sd", "batch")(interpreted, tokens, torch.tensor(1.0))
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(weights("sd", "batch")(interpreted, tokens, torch.tensor(1.0)), expected, rtol=0, atol=0)


@pytest.mark.parametrize("N", SIZES)
def test_a_gain_given_as_a_number_weighs_like_a_tensor(interpreted: Any, N: int) -> None:
    tokens = images(N)
    of_number = interpreted.quadruplet_cross_similarity(*tokens, 0.3, "sd", "sample")
    assert_close(of_number, interpreted.quadruplet_cross_similarity(*tokens, torch.tensor(0.3), "sd", "sample"))
    assert not torch.equal(of_number[0], interpreted.quadruplet_cross_similarity(*tokens, 0.6, "sd", "sample")[0])


def test_reason_names_the_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    from qcs.ops import triton

    monkeypatch.setattr(triton, "INTERPRETED", False)
    assert "not torch.float64" in triton.reason(torch.empty(1, dtype=torch.float64))
    assert "NVIDIA GPU, not on cpu" in triton.reason(torch.empty(1))
    monkeypatch.setattr(triton, "INTERPRETED", True)
    assert triton.reason(torch.empty(1, dtype=torch.bfloat16)) is None
    assert "no key_padding_mask" in triton.reason(torch.empty(1), Output(padding=(torch.zeros(1, 1) > 0, None)))
    assert "weights in the dtype of the tokens" in triton.reason(torch.empty(1), Output(logits=True))
    assert "across processes" in triton.reason(torch.empty(1), scope="world")
