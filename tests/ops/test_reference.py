"""The steps of the definition one by one: distance, alignment, importance, attention."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from qcs.ops import reference
from qcs.ops.output import WEIGHTS

D = torch.tensor([[[1.0, 4.0], [3.0, 4.0]], [[2.0, 6.0], [6.0, 5.0]]])


def test_small_distances_between_large_tokens_survive() -> None:
    q = 1000 + torch.rand(2, 30, 64)  # 30 tokens: more than 25 rows would take the product form by default
    k = q + torch.rand(2, 30, 64) / 1000
    exact = torch.cdist(q.double(), k.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert_close(reference.euclidean_distance(q, k).double(), exact, rtol=1e-5, atol=0)


def test_equal_tokens_are_at_distance_exactly_zero() -> None:
    x = 1000 * torch.randn(2, 30, 64)
    assert not reference.euclidean_distance(x, x.clone()).diagonal(dim1=1, dim2=2).any()


@pytest.mark.parametrize(("scope", "hi"), [("batch", [6.0, 6.0]), ("sample", [4.0, 6.0])])
def test_similarity_is_the_largest_distance_of_the_scope_minus_the_distance(scope: str, hi: list[float]) -> None:
    assert_close(reference.similarity(D, scope), torch.tensor(hi)[:, None, None] - D)


@pytest.mark.parametrize(("scope", "lo"), [("batch", [1.0, 1.0]), ("sample", [1.0, 2.0])])
def test_dissimilarity_is_the_distance_minus_the_smallest_of_the_scope(scope: str, lo: list[float]) -> None:
    assert_close(reference.dissimilarity(D, scope), D - torch.tensor(lo)[:, None, None])


@pytest.mark.parametrize(("scope", "share"), [("batch", [0.0, 1 / 2]), ("sample", [1 / 2, 1 / 2])])
def test_ties_at_the_extremum_share_its_gradient_evenly(scope: str, share: list[float]) -> None:
    distance = D.clone().requires_grad_()
    aligned = reference.similarity(distance, scope)
    # Entry (b, 0, 0) is -1 by itself; the extremum adds 1 for every sample that reads it.
    (gradient,) = torch.autograd.grad(aligned[:, 0, 0].sum(), distance)
    readers = 2 if scope == "batch" else 1
    expected = torch.zeros_like(D)
    expected[:, 0, 0] = -1
    expected[0, :, 1] += readers * share[0]
    expected[1, 0, 1] += readers * share[1]
    expected[1, 1, 0] += readers * share[1]
    assert_close(gradient, expected)


def test_importance_sums_unit_rows_for_columns_and_unit_columns_for_rows() -> None:
    columns, rows = reference.importance(torch.tensor([[[3.0, 4.0], [0.0, 2.0]]]))
    assert_close(columns, torch.tensor([[3 / 5 + 0, 4 / 5 + 1]]))
    assert_close(rows, torch.tensor([[1 + 4 / math.sqrt(20), 0 + 2 / math.sqrt(20)]]))


def test_importance_of_nothing_is_nothing() -> None:
    columns, rows = reference.importance(torch.zeros(1, 2, 3))
    assert_close((columns, rows), (torch.zeros(1, 3), torch.zeros(1, 2)))


def test_attention_is_a_softmax_in_the_dtype_of_its_tokens() -> None:
    (weights,) = WEIGHTS.of([torch.tensor([[0.0, math.log(3)]])], [torch.empty(1, 2, 4, dtype=torch.bfloat16)])
    assert_close(weights, torch.tensor([[0.25, 0.75]], dtype=torch.bfloat16))
