"""Tokens for which products lose digits, extrema tie or norms vanish: still no worse than the definition in float32."""

# ruff: noqa: N803
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ops.comparing import assert_as_exact, distances, values_and_gradients, weights
from ops.hard_cases import HARD_CASES
from torch import Tensor
from torch.testing import assert_close

from qcs.ops import reference

pytestmark = pytest.mark.usefixtures("wide_tiles")


@pytest.mark.parametrize("N", [12, 66])
@pytest.mark.parametrize("case", HARD_CASES)
def test_hard_tokens_lose_no_more_than_in_the_definition(
    interpreted: Any, case: Callable[[int], list[Tensor]], N: int
) -> None:
    tokens = case(N)
    assert_as_exact(interpreted, weights("sd", "batch"), tokens)
    assert_as_exact(interpreted, distances, tokens)


@pytest.mark.parametrize("N", [12, 66])
def test_equal_tokens_are_at_distance_zero_without_gradient(interpreted: Any, N: int) -> None:
    x = 1000 * torch.randn(1, N, 8)
    assert not interpreted.euclidean_distance(x, x.clone()).diagonal(dim1=1, dim2=2).any()
    constant = torch.full((1, N, 8), 3.0)
    of_distances = values_and_gradients(interpreted, distances, [constant, constant.clone()])
    assert not any(y.any() for y in of_distances)
    result = values_and_gradients(interpreted, weights("sd", "batch"), [constant.clone() for _ in range(4)])
    assert_close(result[:4], [torch.full((1, N), 1 / N)] * 4)
    assert not any(g.any() for g in result[4:])


@pytest.mark.parametrize("N", [12, 66])
def test_tokens_too_small_to_square_give_even_weights(interpreted: Any, N: int) -> None:
    tokens = [1e-40 * torch.randn(1, N, 8) for _ in range(4)]
    result = values_and_gradients(interpreted, weights("sd", "batch"), tokens)
    assert_close(result[:4], [torch.full((1, N), 1 / N)] * 4)
    assert all(g.isfinite().all() for g in result[4:])


@pytest.mark.parametrize("scope", ["batch", "sample"])
@pytest.mark.parametrize("N", [12, 66])
def test_nan_reaches_what_it_reaches_in_the_definition(interpreted: Any, N: int, scope: str) -> None:
    tokens = [torch.randn(2, N, 8) for _ in range(4)]
    tokens[1][0, 3, 2] = torch.nan
    gain = torch.tensor(1.0)
    for operator in (weights("sd", scope), distances):
        result = [y.isnan() for y in operator(interpreted, tokens, gain)]
        assert_close(result, [y.isnan() for y in operator(reference, tokens, gain)])
