"""Attention by squared distances: its formula, its exactness, its Lipschitz bound."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ops.comparing import assert_as_exact, values_and_gradients
from ops.hard_cases import HARD_CASES
from second_derivatives import needs_second_derivatives
from torch import Tensor
from torch.testing import assert_close

from qcs import functional as QF
from qcs.errors import InputError
from qcs.layers import DistanceAttention
from qcs.ops import analytic, reference


def operator(backend: Any, tokens: list[Tensor], gain: Tensor) -> list[Tensor]:
    """Attention of the first image to the second, with the gain as temperature and ordinary values."""
    name: Any = backend.__name__.rpartition(".")[2]
    q, k, *_ = tokens
    v = torch.randn(k.shape, generator=torch.Generator().manual_seed(2)).bfloat16().to(k.dtype)
    return [QF.distance_attention(q, k, v, temperature=gain, backend=name)]


@pytest.mark.parametrize("lengths", [(5, 5), (9, 4), (1, 33)])
def test_values_are_weighed_by_the_softmax_of_squared_distances(lengths: tuple[int, int]) -> None:
    q, k, v = torch.randn(2, lengths[0], 6), torch.randn(2, lengths[1], 6), torch.randn(2, lengths[1], 3)
    squared = (q.unsqueeze(2) - k.unsqueeze(1)).square().sum(3)
    for temperature, divisor in ((None, 6**0.5), (0.3, 0.3)):
        expected = (-squared / divisor).softmax(2) @ v
        assert_close(QF.distance_attention(q, k, v, temperature=temperature), expected)


@pytest.mark.parametrize("case", HARD_CASES)
def test_hard_tokens_lose_no_more_than_in_the_definition(case: Any) -> None:
    assert_as_exact(analytic, operator, case(20))


def test_half_precision_and_double_precision() -> None:
    tokens = [torch.randn(2, 9, 17) for _ in range(3)]
    assert_as_exact(analytic, operator, [x.bfloat16() for x in tokens], floor=torch.finfo(torch.bfloat16).eps / 2)
    double = [x.double() for x in tokens]
    result = [values_and_gradients(backend, operator, double) for backend in (analytic, reference)]
    assert_close(*result, rtol=1e-9, atol=1e-13)


@needs_second_derivatives
def test_second_derivatives_equal_finite_differences() -> None:
    tokens = [torch.randn(1, 4, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradgradcheck(QF.distance_attention, tokens, fast_mode=True)


def test_padding_of_any_value_gives_what_remains_without_it() -> None:
    q, k, v = torch.randn(3, 2, 6, 4).unbind()
    mask = torch.arange(6).expand(2, 6) >= 4
    spoiled = [x.masked_fill(mask.unsqueeze(2), torch.nan).requires_grad_() for x in (k, v)]
    found = QF.distance_attention(q, *spoiled, key_padding_mask=mask)
    assert_close(found, QF.distance_attention(q, k[:, :4], v[:, :4]))
    assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(found.square().sum(), spoiled))
    assert not QF.distance_attention(q, k, v, key_padding_mask=mask | True).any()


def test_a_head_projects_attends_and_projects() -> None:
    layer, x = DistanceAttention(6, num_heads=2).double(), torch.randn(2, 5, 6, dtype=torch.float64)
    heads = []
    for query, value in zip(layer.query, layer.value, strict=True):
        projected = x @ query
        attention = (-torch.cdist(projected, projected).square() / 3**0.5).softmax(2)
        heads.append(attention @ x @ query @ query.T / 3**0.5 @ value)
    assert_close(layer(x), torch.cat(heads, 2) @ layer.out)


@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
def test_no_change_of_the_output_exceeds_the_bound(size: float) -> None:
    layer = DistanceAttention(4, num_heads=2).double()
    x = size * torch.randn(1, 6, 4, dtype=torch.float64)
    jacobian: Any = torch.autograd.functional.jacobian(layer, x)
    assert torch.linalg.matrix_norm(jacobian.reshape(24, 24), 2) <= layer.lipschitz_bound(6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: QF.distance_attention(x, x, x[:, 1:]), "k and v must agree in batch size, tokens"),
        (lambda x: QF.distance_attention(x, x, x, temperature=0), "temperature must be positive, got 0"),
        (lambda x: DistanceAttention(4, num_heads=3), "positive multiple of num_heads, got 4 and 3"),
        (lambda x: DistanceAttention(8)(x), r"expected tokens \(B, N, 8\), got shape \(2, 5, 4\)"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(torch.randn(2, 5, 4))
