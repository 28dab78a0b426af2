"""Docstrings of public functions and layers state the shapes of their tensors, and checked calls must have them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from shapes import Contract, checked, contract_of, public_functions, public_modules
from torch import Tensor, nn

PUBLIC = [*public_functions(), *(layer.forward for layer in public_modules())]


def paired(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return products and a total.

    Args:
        x: Tokens (B, N, C).
        y: Tokens (B, M, C) of the
            other image.

    Returns:
        Products (B, N * M), and a scalar.
    """
    return (x @ y.mT).flatten(1), x.sum()


class Widened(nn.Module):
    """A layer whose attribute is the size of a dimension."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, width) of pooled ones (B, C)."""
        return x.repeat(1, 2)


@pytest.mark.parametrize("function", PUBLIC, ids=lambda function: function.__qualname__)
def test_public_functions_state_the_shapes_of_all_tensors(function: Callable[..., Any]) -> None:
    contract = contract_of(function)
    parameters = inspect.signature(function).parameters.values()
    tensors = {p.name for p in parameters if p.annotation in ("Tensor", "Sequence[Tensor]", "BranchLogits")}
    assert contract.returned
    assert tensors <= contract.arguments.keys()


def test_a_contract_is_read_from_the_docstring() -> None:
    assert contract_of(paired) == Contract({"x": (("B", "N", "C"),), "y": (("B", "M", "C"),)}, (("B", "N * M"), ()))


def test_calls_that_keep_the_contract_pass() -> None:
    products, total = checked(paired)(torch.ones(2, 3, 4), y=torch.ones(2, 5, 4))
    assert (products.shape, total.shape) == ((2, 15), ())


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ((2, 3, 4), (5, 4), r"y has shape \(5, 4\), its docstring states \(B, M, C\) with"),
        ((2, 3, 4), (1, 5, 4), r"y has shape \(1, 5, 4\)"),
        ((2, 3, 4, 4), (2, 5, 4), r"x has shape \(2, 3, 4, 4\), its docstring states \(B, N, C\)"),
    ],
)
def test_arguments_of_other_shapes_are_found(x: tuple[int, ...], y: tuple[int, ...], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        checked(paired_loosely)(torch.ones(x), torch.ones(y))


def paired_loosely(x: Tensor, y: Tensor) -> Tensor:
    return x.sum()


paired_loosely.__doc__ = paired.__doc__


def test_results_of_other_shapes_are_found() -> None:
    with pytest.raises(AssertionError, match=r"the result has shape \(2, 8\), its docstring states \(B, width\)"):
        checked(Widened.forward)(Widened(6), torch.ones(2, 4))
    assert checked(Widened.forward)(Widened(8), torch.ones(2, 4)).shape == (2, 8)


def test_a_checked_function_compiles_to_one_graph() -> None:
    tokens = torch.ones(2, 3, 4), torch.ones(2, 5, 4)
    compiled = torch.compile(checked(paired), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*tokens), paired(*tokens))
