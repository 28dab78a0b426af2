"""The closed form among PyTorch's own: checks, compilation, export, autocast, `torch.func`, second derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from ops.comparing import distances, values_and_gradients, weights
from second_derivatives import needs_second_derivatives
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from qcs import functional as QF
from qcs.ops import analytic, reference
from qcs.ops.analytic import grid
from qcs.ops.analytic.distance import distance, distance_backward
from qcs.ops.analytic.strips import importance, importance_backward
from qcs.ops.analytic.traced import add_canceled, replace_canceled
from qcs.ops.memory import memory_budget

PLAIN = weights("sd", "batch")


@pytest.fixture(params=["one strip", "strips"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "strips":
        monkeypatch.setattr(grid, "STRIP_ELEMENTS", 30)
    with memory_budget(0 if request.param == "strips" else None):
        yield


def images(count: int = 4, **options: Any) -> list[Tensor]:
    return [torch.randn(2, 7, 5, **options) for _ in range(count)]


def test_distances_pass_pytorch_s_own_checks() -> None:
    tokens = images(2)
    torch.library.opcheck(distance, tokens)
    distances, *state = distance(*tokens)
    torch.library.opcheck(distance_backward, (torch.randn_like(distances), distances, state, *tokens))


def test_corrections_of_traced_distances_pass_pytorch_s_own_checks() -> None:
    rows, columns = images(2), images(2)
    columns[0][1, 2] = rows[1][1, 3]
    *_, signed, _, _, x_norms, y_norms, any_canceled = importance(rows, columns, None, None, "sd", "batch", True)
    state = signed.abs().view(2, 14, 14), x_norms, y_norms, any_canceled, rows, columns
    assert any_canceled
    torch.library.opcheck(replace_canceled, state)
    torch.library.opcheck(add_canceled, (*torch.randn(2, 2, 14, 5), torch.randn(2, 14, 14), *state))


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_importance_passes_pytorch_s_own_checks(scope: str, padded: bool) -> None:
    rows, columns = images(2), images(2)
    padding = list(torch.rand(2, 2, 2, 7) < 0.3) if padded else [None, None]
    torch.library.opcheck(importance, (rows, columns, *padding, "sd", scope, False))
    of_rows, of_columns, *state = importance(rows, columns, *padding, "sd", scope, True)
    upstream = torch.randn_like(of_rows), torch.randn_like(of_columns)
    torch.library.opcheck(importance_backward, (*upstream, state, rows, columns, *padding, "sd", scope))


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("grad", [True, False])
def test_compiles_to_one_graph_with_the_same_results(grad: bool) -> None:
    tokens = [x.requires_grad_(grad) for x in images()]

    def loss(tokens: list[Tensor]) -> Tensor:
        of_distances = distances(analytic, tokens, torch.tensor(0.0))
        return torch.stack(
            [y.square().sum() for y in (*PLAIN(analytic, tokens, torch.tensor(0.7)), *of_distances)]
        ).sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert_close(compiled(tokens), loss(tokens))
    if grad:
        assert_close(torch.autograd.grad(compiled(tokens), tokens), torch.autograd.grad(loss(tokens), tokens))


@pytest.mark.usefixtures("path")
def test_exports() -> None:
    class Module(nn.Module):
        def forward(self, *tokens: Tensor) -> tuple[Tensor, ...]:
            return analytic.quadruplet_cross_similarity(*tokens, 0.7, "sd", "batch")

    tokens = tuple(images())
    exported = torch.export.export(Module(), tokens).module()
    assert_close(exported(*tokens), Module()(*tokens))


@pytest.mark.usefixtures("path")
def test_autocast_changes_nothing() -> None:
    tokens = images()
    expected = [values_and_gradients(analytic, operator, tokens) for operator in (PLAIN, distances)]
    with torch.autocast("cpu", torch.bfloat16):
        result = [values_and_gradients(analytic, operator, tokens) for operator in (PLAIN, distances)]
    assert_close(result, expected, rtol=0, atol=0)


@pytest.mark.usefixtures("path")
def test_checkpointing_changes_nothing() -> None:
    tokens = [x.requires_grad_() for x in images()]

    def loss(*tokens: Tensor) -> Tensor:
        return PLAIN(analytic, list(tokens), torch.tensor(0.7))[0].square().sum()

    again = checkpoint(loss, *tokens, use_reentrant=False)
    assert_close(torch.autograd.grad(again, tokens), torch.autograd.grad(loss(*tokens), tokens))


@pytest.mark.usefixtures("path")
@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("operator", [PLAIN, distances])
def test_per_sample_gradients(operator: Any) -> None:
    fixed = images()
    mapped = torch.randn(3, 2, 7, 5)

    def loss(x: Tensor) -> Tensor:
        return operator(analytic, [x, *fixed[1:]], torch.tensor(0.7))[0].square().sum()

    one_by_one = [torch.autograd.grad(loss(x), x)[0] for x in mapped.clone().requires_grad_().unbind()]
    assert_close(torch.vmap(loss)(mapped), torch.stack([loss(x) for x in mapped]))
    assert_close(torch.vmap(torch.func.grad(loss))(mapped), torch.stack(one_by_one))


def test_compiled_per_sample_gradients() -> None:
    fixed = images()
    mapped = torch.randn(3, 2, 7, 5)

    def gradient(x: Tensor) -> Tensor:
        return torch.func.grad(lambda x: PLAIN(analytic, [x, *fixed[1:]], torch.tensor(0.7))[0].square().sum())(x)

    compiled = torch.compile(torch.vmap(gradient), backend="aot_eager")
    assert_close(compiled(mapped), torch.vmap(gradient)(mapped))


@pytest.mark.usefixtures("path")
@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("image", range(4))
def test_jacobian_of_every_image_s_weights(image: int) -> None:
    tokens = images(dtype=torch.float64)

    def of_first(backend: Any) -> Tensor:
        def run(x: Tensor) -> Tensor:
            return PLAIN(backend, [x, *tokens[1:]], torch.tensor(0.7))[image]

        return (
            torch.func.jacrev(run)(tokens[0])
            if backend is analytic
            else torch.autograd.functional.jacobian(run, tokens[0])
        )

    assert_close(of_first(analytic), of_first(reference))


@pytest.mark.parametrize("backend", [None, "analytic", "reference"])
def test_the_public_function_compiles_to_one_graph(backend: Any) -> None:
    tokens = images()
    compiled = torch.compile(QF.quadruplet_cross_similarity, fullgraph=True, backend="aot_eager")
    assert_close(compiled(*tokens, backend=backend), QF.quadruplet_cross_similarity(*tokens, backend=backend))


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("operator", [PLAIN, distances])
def test_second_derivatives_equal_those_of_the_definition(operator: Any) -> None:
    def penalty(backend: Any) -> tuple[Tensor, ...]:
        tokens = [x.detach().requires_grad_() for x in given]
        gain = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        first, *_ = operator(backend, tokens, gain)
        gradients = torch.autograd.grad(first.square().sum(), tokens[:2], create_graph=True)
        norms = torch.stack([gradient.square().sum() for gradient in gradients])
        third = torch.autograd.grad(norms.sum(), tokens[0], create_graph=True)[0].square().sum()
        return torch.autograd.grad(norms.sum() + third, tokens[:2])

    given = images(dtype=torch.float64)
    assert_close(penalty(analytic), penalty(reference), rtol=1e-7, atol=1e-10)


def test_second_derivatives_of_composed_transformations() -> None:
    fixed = images(dtype=torch.float64)

    def of_first(backend: Any, x: Tensor) -> Tensor:
        return PLAIN(backend, [x, *fixed[1:]], torch.tensor(0.7))[0].square().sum()

    x, v = images(2, dtype=torch.float64)
    gradient = torch.func.grad(lambda x: (torch.func.grad(lambda x: of_first(analytic, x))(x) * v).sum())(x)
    expected = torch.autograd.functional.vhp(lambda x: of_first(reference, x), x, v)[1]
    assert_close(gradient, expected)


@needs_second_derivatives
def test_the_definition_has_a_second_derivative() -> None:
    tokens = [x.requires_grad_() for x in images(dtype=torch.float64)]
    assert torch.autograd.gradgradcheck(
        lambda *x: reference.quadruplet_cross_similarity(*x, 0.7, "sd", "batch"), tokens, fast_mode=True
    )
