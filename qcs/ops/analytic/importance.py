"""Importance of rows and columns of a grid of images, as an autograd function.

It takes a fixed number of tensors, so that compilers can trace it: row, column and, two by two, a second row and a
second column image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from qcs.ops import reference
from qcs.ops._autograd import outside_autocast, twice_differentiable
from qcs.ops.analytic import strips, traced
from qcs.ops.analytic.closed_form import Padding

T = TypeVar("T")


def _definition(ctx: Any, saved: Sequence[Any]) -> Any:
    row_padding, column_padding, *rest = saved
    images = rest[10:]

    def defined(*images: Tensor) -> tuple[Tensor, ...]:
        return definition(*_halves(images), Padding(row_padding, column_padding), ctx.kinds, ctx.scope)

    row_places, column_places = ([5, 7], [6, 8]) if len(images) == 4 else ([5], [6])
    return defined, [*row_places, *column_places], list(images)


class GridImportance(torch.autograd.Function):
    """Importance of rows (B, R, N, K) and of columns (B, R, K, M); the other outputs are state for the backward.

    `keep` states whether there is memory for the distances of all pairs, `traced` whether a compiler sees the plain
    tensor functions instead of an operator.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        kinds: str,
        scope: str,
        path: str,
        row_padding: Tensor | None,
        column_padding: Tensor | None,
        row: Tensor,
        column: Tensor,
        row2: Tensor | None,
        column2: Tensor | None,
    ) -> tuple[Tensor, ...]:
        rows, columns = present(row, row2), present(column, column2)
        with outside_autocast(row):
            if path == "traced":
                return tuple(traced.importance(rows, columns, Padding(row_padding, column_padding), kinds, scope))
            keep = path == "kept"
            return tuple(strips.importance(rows, columns, row_padding, column_padding, kinds, scope, keep))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.kinds, ctx.scope, ctx.path, *padding, row, column, row2, column2 = inputs
        ctx.set_materialize_grads(False)  # else the kept distances get a gradient of zeros
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(*padding, *output[2:], *present(row, row2), *present(column, column2))

    @staticmethod
    @twice_differentiable(_definition)
    def backward(
        ctx: Any, saved: Sequence[Any], grad_rows: Tensor | None, grad_columns: Tensor | None, *_: None
    ) -> Any:
        row_padding, column_padding, *rest = saved
        state, (rows, columns) = rest[:10], _halves(rest[10:])
        grad_rows = torch.zeros_like(state[0]) if grad_rows is None else grad_rows
        grad_columns = torch.zeros_like(state[1]) if grad_columns is None else grad_columns
        if ctx.path == "traced":
            padding = Padding(row_padding, column_padding)
            grads = traced.importance_backward(grad_rows, grad_columns, state, rows, columns, padding, ctx.scope)
        else:
            grads = strips.importance_backward(
                grad_rows, grad_columns, state, rows, columns, row_padding, column_padding, ctx.kinds, ctx.scope
            )
        pairs = zip(*(of_all.chunk(len(rows), 1) for of_all in grads), strict=True)
        return *[None] * 5, *padded([image for pair in pairs for image in pair])


def definition(
    rows: Sequence[Tensor], columns: Sequence[Tensor], padding: Padding, kinds: str, scope: str
) -> tuple[Tensor, Tensor]:
    """Return the importance of rows (B, R, N, K) and of columns (B, R, K, M) as the reference computes it."""
    row_importance, column_importance = [], []
    for r, row in enumerate(rows):
        kinds_here = [kinds if len(rows) == 1 else "s" if r == k else "d" for k in range(len(columns))]
        masks = [
            (None, None)
            if padding.rows is None or padding.columns is None
            else (padding.rows[:, r], padding.columns[:, k])
            for k in range(len(columns))
        ]
        found = [
            reference.pair_importance(row, column, kind, scope, *mask)
            for column, kind, mask in zip(columns, kinds_here, masks, strict=True)
        ]
        row_importance.append(torch.stack([rows for rows, _ in found], 2))
        column_importance.append(torch.stack([columns for _, columns in found], 1))
    return torch.stack(row_importance, 1), torch.stack(column_importance, 1)


def present(first: Tensor, second: Tensor | None) -> list[Tensor]:
    """Return the images that are not None."""
    return [first] if second is None else [first, second]


def padded(images: Sequence[T]) -> list[T | None]:
    """Return four arguments, None for the missing images."""
    return [*images, *[None] * (4 - len(images))]


def _halves(images: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Split images saved rows first into rows and columns: a grid has as many of one as of the other."""
    return images[: len(images) // 2], images[len(images) // 2 :]
