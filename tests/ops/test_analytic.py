"""The closed form against the definition in float64: values and gradients on every path, second derivatives."""

# ruff: noqa: N803
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from ops.comparing import assert_as_exact, distances, values_and_gradients, weights
from ops.hard_cases import HARD_CASES
from second_derivatives import needs_second_derivatives
from torch import Tensor
from torch.testing import assert_close

from qcs import functional as QF
from qcs.ops import analytic, compiled, memory_budget, reference
from qcs.ops.analytic import distance, grid, traced
from qcs.ops.analytic.closed_form import Padding
from qcs.ops.analytic.grid import Centered
from qcs.ops.output import Output

FORMS = [(m, s) for m in ("dual", "s", "d", "sd") for s in ("batch", "sample")]
PATHS = ["one strip", "as a compiler traces it", "strips, distances kept", "strips, distances recomputed"]


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Path through the operator, with the sizes that switch between paths made small."""
    if "compiler" in request.param:
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    elif "strips" in request.param:
        monkeypatch.setattr(grid, "STRIP_ELEMENTS", 150)
    with memory_budget(0 if "recomputed" in request.param else None):
        yield request.param


@pytest.fixture
def threads_restored() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def images(B: int, lengths: tuple[int, ...], C: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.randn(B, n, C).to(dtype) for n in lengths]


def assert_equals_definition(operator: Any, tokens: list[Tensor]) -> None:
    """In float64 nothing but the order of additions is left between the two."""
    result = values_and_gradients(analytic, operator, tokens)
    assert_close(result, values_and_gradients(reference, operator, tokens), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("C", [3, 17, 64, 768])
@pytest.mark.parametrize("N", [1, 5, 16, 49, 64, 65, 100, 196])
@pytest.mark.usefixtures("nan_filled")
def test_published_form_at_any_size(N: int, C: int) -> None:
    tokens = images(2, (N,) * 4, C)
    assert_as_exact(analytic, weights("sd", "batch"), tokens)
    assert_equals_definition(weights("sd", "batch"), [x.double() for x in tokens])


@pytest.mark.parametrize(("matrices", "scope"), FORMS)
@pytest.mark.parametrize("lengths", [(7, 7, 7, 7), (9, 5, 5, 9), (12, 5, 3, 6)])
@pytest.mark.usefixtures("nan_filled")
def test_every_form_on_every_path(path: str, matrices: str, scope: str, lengths: tuple[int, ...]) -> None:
    tokens = images(3, lengths, 19)
    assert_as_exact(analytic, weights(matrices, scope), tokens)
    assert_equals_definition(weights(matrices, scope), [x.double() for x in tokens])


@pytest.mark.parametrize("N", [12, 40])
@pytest.mark.parametrize("case", HARD_CASES)
def test_hard_tokens_lose_no_more_than_in_the_definition(
    path: str, case: Callable[[int], list[Tensor]], N: int
) -> None:
    assert_as_exact(analytic, weights("sd", "batch"), case(N))
    assert_as_exact(analytic, distances, case(N))


@pytest.mark.parametrize("size", [1e-20, 1e-16, 1e13, 1e14, 1e16, 1e17])
@pytest.mark.parametrize(("matrices", "scope"), [("sd", "batch"), ("sd", "sample"), ("dual", "batch")])
def test_tokens_of_any_size_that_the_definition_takes(path: str, matrices: str, scope: str, size: float) -> None:
    tokens = [size * x for x in images(2, (12,) * 4, 16)]
    result = values_and_gradients(analytic, weights(matrices, scope), tokens)
    exact = values_and_gradients(reference, weights(matrices, scope), [x.double() for x in tokens])
    for got, expected in zip(result, exact, strict=True):
        assert float((got - expected).abs().max()) <= 3e-5 * max(float(expected.abs().max()), 0.1 * (got.ndim == 0))


def test_beyond_the_range_of_squares_both_are_nan_and_none_is_wrong_in_silence() -> None:
    tokens = [1e20 * x for x in images(2, (12,) * 4, 16)]
    for backend in (analytic, reference):
        assert all(x.isnan().any() for x in values_and_gradients(backend, weights("sd", "batch"), tokens))


@pytest.mark.parametrize("canceled", ["few", "most"])
def test_canceled_digits_are_recovered_in_values_and_gradients(path: str, canceled: str) -> None:
    """Tokens of two far clusters: product forms alone are wrong by several percent here."""
    where = torch.arange(20) < (3 if canceled == "few" else 16)
    tokens = [torch.where(where[:, None], 300 + torch.randn(2, 20, 6), 50 * torch.randn(2, 20, 6)) for _ in range(4)]
    assert_as_exact(analytic, weights("sd", "sample"), tokens, floor=1e-5)
    assert_as_exact(analytic, distances, tokens, floor=1e-5)


def test_equal_tokens_are_at_distance_zero_without_gradient(path: str) -> None:
    x = 1000 * torch.randn(2, 30, 8)
    assert not analytic.euclidean_distance(x, x.clone()).diagonal(dim1=1, dim2=2).any()
    constant = [torch.full((2, 30, 8), 3.0) for _ in range(4)]
    result = values_and_gradients(analytic, weights("sd", "batch"), constant)
    assert_close(result[:4], [torch.full((2, 30), 1 / 30)] * 4)
    assert not any(gradient.any() for gradient in result[4:])


def test_tokens_too_small_to_square_give_even_weights(path: str) -> None:
    tokens = [1e-40 * torch.randn(1, 12, 8) for _ in range(4)]
    result = values_and_gradients(analytic, weights("sd", "batch"), tokens)
    assert_close(result[:4], [torch.full((1, 12), 1 / 12)] * 4)
    assert all(gradient.isfinite().all() for gradient in result[4:])


@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_nan_reaches_what_it_reaches_in_the_definition(path: str, scope: str) -> None:
    tokens = images(2, (12,) * 4, 8)
    tokens[1][0, 3, 2] = torch.nan
    for operator in (weights("sd", scope), distances):
        result = [y.isnan() for y in operator(analytic, tokens, torch.tensor(1.0))]
        assert_close(result, [y.isnan() for y in operator(reference, tokens, torch.tensor(1.0))])
    if scope == "sample":
        gradients = values_and_gradients(analytic, weights("sd", scope), tokens)[4:8]
        assert all(gradient[0].isnan().any() and gradient[1].isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_loses_no_more_than_its_outputs_rounding(path: str, dtype: torch.dtype) -> None:
    for operator in (weights("sd", "batch"), distances):
        assert_as_exact(analytic, operator, images(2, (20,) * 4, 40, dtype), floor=torch.finfo(dtype).eps / 2)


def test_views_give_what_copies_give(path: str) -> None:
    projected = torch.randn(4, 2, 9, 12)
    views = list(projected[..., :6])
    for operator in (weights("sd", "sample"), distances):
        result = values_and_gradients(analytic, operator, views)
        assert_close(result, values_and_gradients(analytic, operator, [x.clone() for x in views]))


@pytest.mark.usefixtures("threads_restored")
def test_two_runs_agree_bit_by_bit(path: str) -> None:
    rounded = [x.round(decimals=1) for x in images(3, (20,) * 4, 2)]  # with ties and canceled digits
    wide = images(2, (30,) * 4, 768)
    wide[1][:, :3] = wide[0][:, :3] + 1e-3 * torch.randn(2, 3, 768)  # some canceled digits, in sums over two threads
    torch.set_num_threads(2)
    for tokens in (rounded, wide):
        for operator in (weights("sd", "batch"), distances):
            first, second = (values_and_gradients(analytic, operator, tokens) for _ in range(2))
            assert_close(first, second, rtol=0, atol=0)


def of_all(matrices: str, scope: str) -> tuple[Any, list[Tensor]]:
    """The operator as a function of gain and tokens, and arguments for finite differences."""
    tokens = [torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    gain = torch.tensor(0.7, dtype=torch.float64, requires_grad=matrices == "sd")
    return lambda gain, *x: tuple(weights(matrices, scope)(analytic, list(x), gain)), [gain, *tokens]


@pytest.mark.parametrize(("matrices", "scope"), FORMS)
def test_gradients_equal_finite_differences(path: str, matrices: str, scope: str) -> None:
    assert torch.autograd.gradcheck(*of_all(matrices, scope), fast_mode=True)


@pytest.mark.parametrize(("matrices", "scope"), FORMS)
@needs_second_derivatives
def test_second_derivatives_equal_finite_differences(matrices: str, scope: str) -> None:
    assert torch.autograd.gradgradcheck(*of_all(matrices, scope), fast_mode=True)


def test_gain_as_a_number_weighs_like_a_tensor(path: str) -> None:
    tokens = images(2, (9,) * 4, 5)
    of_number = analytic.quadruplet_cross_similarity(*tokens, 0.3, "sd", "sample")
    assert_close(of_number, analytic.quadruplet_cross_similarity(*tokens, torch.tensor(0.3), "sd", "sample"))
    assert not torch.equal(of_number[0], analytic.quadruplet_cross_similarity(*tokens, 0.6, "sd", "sample")[0])


@pytest.mark.parametrize("budget", [4 * 4 * 30 * 30 - 1, 4 * 4 * 30 * 30])
def test_nothing_as_large_as_the_matrices_is_kept_beyond_the_budget(budget: int) -> None:
    tokens = [x.requires_grad_() for x in images(1, (30,) * 4, 3)]
    with memory_budget(budget), torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()), int):
        sizes: list[int] = []
        analytic.quadruplet_cross_similarity(*tokens, 0.7, "sd", "batch")
    assert (max(sizes) == 4 * 30 * 30) is (budget == 4 * 4 * 30 * 30)


def test_the_budget_may_be_an_argument() -> None:
    tokens = [x.requires_grad_() for x in images(1, (30,) * 4, 3)]
    for budget, kept in ((0, False), (None, True)):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, into=sizes: into.append(x.numel()), int):
            QF.quadruplet_cross_similarity(*tokens, memory_budget=budget)
        assert (max(sizes) == 4 * 30 * 30) is kept


def test_results_do_not_depend_on_the_memory_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "STRIP_ELEMENTS", 400)
    tokens = images(2, (20,) * 4, 6)
    with memory_budget(0):
        recomputed = values_and_gradients(analytic, weights("sd", "batch"), tokens)
    assert_close(values_and_gradients(analytic, weights("sd", "batch"), tokens), recomputed, rtol=0, atol=0)


def test_few_canceled_entries_cost_no_matrix_of_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = images(2, (12,) * 4, 6)
    tokens[1][0, 3] = tokens[0][0, 5]
    monkeypatch.setattr(torch.Tensor, "new_zeros", lambda *_, **__: pytest.fail("a matrix of zeros was allocated"))
    values_and_gradients(analytic, weights("sd", "batch"), tokens)


def test_a_wide_range_of_norms_raises_no_false_alarm() -> None:
    """The smallest distance of one sample is compared with the norms of that sample, not of the largest."""
    sizes = torch.tensor([1.0, 1e4]).view(2, 1, 1)
    rows, columns = (sizes * torch.randn(2, 12, 16) for _ in range(2))
    assert not distance.distance(rows, columns)[-1]
    columns[1, 2] = rows[1, 4]
    assert distance.distance(rows, columns)[-1]


def test_an_entry_at_the_threshold_keeps_its_gradient_where_rounding_disagrees_on_it() -> None:
    rows, columns = images(1, (4,), 8), images(1, (5,), 8)
    state = traced.importance(rows, columns, Padding(None, None), "d", "batch")[2:]
    assert not state[-1]
    signed, tokens = state[4].flatten(3).flatten(1, 2), Centered(*state[5:9])
    bounds = tokens.x_norms.unsqueeze(2) + tokens.y_norms.unsqueeze(1)
    threshold = float((signed.square() / bounds).amin())
    upstream = torch.randn(1, 1, 4, 1), torch.randn(1, 1, 1, 5)
    arguments = *upstream, state, rows, columns, Padding(None, None), "batch"
    expected = traced.importance_backward(*arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(traced, "CANCELLATION", 1.01 * threshold)
        assert traced._canceled(signed, tokens).sum() == 1
        assert_close(traced.importance_backward(*arguments), expected)


def masks(lengths: tuple[int, ...], batch: int = 3) -> tuple[Tensor, ...]:
    """Random padding; the first sample has none, and the last image of the last sample is all padding."""
    padding = [torch.rand(batch, n) < 0.3 for n in lengths]
    for mask in padding:
        mask[0], mask[:, 0] = False, False
    padding[-1][-1] = True
    return tuple(padding)


@pytest.mark.parametrize(("matrices", "scope"), FORMS)
@pytest.mark.parametrize("lengths", [(7, 7, 7, 7), (12, 5, 3, 6)])
@pytest.mark.usefixtures("nan_filled")
def test_padding_on_every_path(path: str, matrices: str, scope: str, lengths: tuple[int, ...]) -> None:
    tokens = images(3, lengths, 19)
    for logits in (False, True):
        operator = weights(matrices, scope, Output(padding=masks(lengths)))
        if logits:  # without the infinite ones of padding, of which no difference can be formed
            operator = finite(weights(matrices, scope, Output(logits=True, padding=masks(lengths))))
        assert_as_exact(analytic, operator, tokens)
        assert_equals_definition(operator, [x.double() for x in tokens])


def finite(operator: Any) -> Any:
    return lambda *arguments: [y.masked_fill(y.isinf(), 0) for y in operator(*arguments)]


@pytest.mark.slow
@pytest.mark.parametrize("case", HARD_CASES)
def test_compiled_hard_tokens_lose_no_more_than_in_the_definition(case: Callable[[int], list[Tensor]]) -> None:
    assert_as_exact(compiled, weights("sd", "batch"), case(20))
