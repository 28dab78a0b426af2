"""Importance of rows and columns from strips of a grid of distances, for images of many tokens.

A strip holds the distances of some tokens of one row image to all tokens of the column images, and stays in the cache
while it is processed. State between passes grows with the number of tokens, not of pairs: every pass computes the
distances again, unless all of them are few enough to keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qcs.ops._autograd import batch_by_loop, differentiable_once, outside_autocast
from qcs.ops.analytic.attention import halves, in_order, over_cubes, padded, present, reciprocal_norms, ties
from qcs.ops.analytic.strips import Grid, TokenGradients

KEPT_ELEMENTS = 1 << 27


@torch.library.custom_op("qcs::tiled_importance", mutates_args=())
def tiled_importance(
    rows: Sequence[Tensor], columns: Sequence[Tensor], kinds: str, scope: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the importance of rows (R, K, B, N) and of columns (R, K, B, M) in each matrix of the grid.

    Also return the state for the backward pass: the reciprocal norms of rows and columns, the least entries of ±D
    (R, K, B) and the kept distances (B, R, N, K, M), empty if they are not kept.
    """
    row_importance, column_importance, per_row, per_column, least, kept = _empty_state(rows, columns)
    grid = Grid(rows, columns, kinds, kept)
    least.fill_(torch.inf)
    for strip in grid.first_pass():
        signed = strip.distances * grid.signs[strip.r]
        least[strip.columns] = torch.minimum(least[strip.columns], signed.amin((0, 2)))
    if scope == "batch":
        least.copy_(least.amin(2, keepdim=True).expand_as(least))

    column_importance.zero_()
    per_column.zero_()
    for strip in grid.strips():
        aligned = grid.aligned(strip, least)
        squares = aligned.square()
        per_row_here = reciprocal_norms(squares.sum(2))  # (n, K)
        per_row[strip.rows] = per_row_here.T
        per_column[strip.columns] += squares.sum(0)
        column_importance[strip.columns] += torch.mul(aligned, per_row_here.unsqueeze(2), out=squares).sum(0)
    reciprocal_norms(per_column)
    for strip in grid.strips():
        row_importance[strip.rows] = grid.aligned(strip, least).mul_(per_column[strip.columns]).sum(2).T
    return row_importance, column_importance, per_row, per_column, least, kept


@torch.library.custom_op("qcs::tiled_importance_backward", mutates_args=())
def tiled_importance_backward(
    grad_row_importance: Tensor,
    grad_column_importance: Tensor,
    per_row: Tensor,
    per_column: Tensor,
    least: Tensor,
    kept: Tensor,
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
    kinds: str,
    scope: str,
) -> tuple[Tensor, Tensor]:
    """Return gradients of the row tokens (B, R*N, C) and of the column tokens (B, K*M, C), image after image."""
    grid = Grid(rows, columns, kinds, kept)
    alpha, beta = torch.empty_like(per_row), torch.zeros_like(per_column)
    row_sums, column_sums = torch.empty_like(per_row), torch.zeros_like(per_column)
    tied = torch.zeros_like(least)
    bounds = grid.bounds.amax().expand_as(grid.bounds) if scope == "batch" else grid.bounds
    with_extremum = set()
    for strip in grid.strips():
        aligned = grid.aligned(strip, least)
        least_here = least[strip.columns].unsqueeze(1)  # (K, 1)
        if _holds_extremum(aligned, least_here):
            with_extremum.add(strip.place)
            tied[strip.columns] += ties(aligned, least_here, bounds[strip.b]).sum((0, 2))
        row_sums[strip.rows] = aligned.sum(2).T
        column_sums[strip.columns] += aligned.sum(0)
        alpha[strip.rows] = (aligned * grad_column_importance[strip.columns]).sum(2).T
        beta[strip.columns] += aligned.mul_(grad_row_importance[strip.rows].T.unsqueeze(2)).sum(0)
    alpha, beta = over_cubes(alpha, per_row), over_cubes(beta, per_column)
    # The extremum takes minus the sum of all entries' gradients, which follows from vectors alone.
    grad_sum = grad_column_importance.sum(-1) * per_row.sum(-1) + grad_row_importance.sum(-1) * per_column.sum(-1)
    grad_sum -= (alpha * row_sums).sum(-1) + (beta * column_sums).sum(-1)
    if scope == "batch":
        grad_sum, tied = (t.sum(2, keepdim=True).expand_as(least) for t in (grad_sum, tied))
    grad_per_tie = grad_sum / tied

    tokens = TokenGradients(grid)
    for strip in grid.strips():
        aligned = grid.aligned(strip, least)
        grad_distances = per_row[strip.rows].T.unsqueeze(2) * grad_column_importance[strip.columns]
        grad_distances.addcmul_(grad_row_importance[strip.rows].T.unsqueeze(2), per_column[strip.columns])
        if strip.place in with_extremum:
            at_extremum = ties(aligned, least[strip.columns].unsqueeze(1), bounds[strip.b])
            grad_distances.addcmul_(at_extremum, grad_per_tie[strip.columns].unsqueeze(1), value=-1)
        shifts = alpha[strip.rows].T.unsqueeze(2) + beta[strip.columns]
        grad_distances.addcmul_(aligned, shifts, value=-1).mul_(grid.signs[strip.r])
        tokens.add(strip, grad_distances)
    grad_rows, grad_columns = tokens.gradients()
    return grad_rows.to(rows[0].dtype), grad_columns.to(rows[0].dtype)


@tiled_importance.register_fake
def _(
    rows: Sequence[Tensor], columns: Sequence[Tensor], kinds: str, scope: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _empty_state(rows, columns)


@tiled_importance_backward.register_fake
def _(
    grad_row_importance: Tensor,
    grad_column_importance: Tensor,
    per_row: Tensor,
    per_column: Tensor,
    least: Tensor,
    kept: Tensor,
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
    kinds: str,
    scope: str,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(torch.cat(list(rows), 1)), torch.empty_like(torch.cat(list(columns), 1))


tiled_importance.register_vmap(batch_by_loop(tiled_importance))
tiled_importance_backward.register_vmap(batch_by_loop(tiled_importance_backward))


class TiledImportance(torch.autograd.Function):
    """Importance of rows (R, K, B, N) and of columns (R, K, B, M) in each matrix; other outputs are state."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        kinds: str, scope: str, row: Tensor, column: Tensor, row2: Tensor | None, column2: Tensor | None
    ) -> tuple[Tensor, ...]:
        with outside_autocast(row):
            importance: tuple[Tensor, ...] = tiled_importance(
                present(row, row2), present(column, column2), kinds, scope
            )
        return importance

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.kinds, ctx.scope, row, column, row2, column2 = inputs
        ctx.set_materialize_grads(False)  # else the kept distances get a gradient of zeros
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(*output[2:], *present(row, row2), *present(column, column2))

    @staticmethod
    @differentiable_once
    def backward(
        ctx: Any,
        saved: Sequence[Tensor],
        grad_row_importance: Tensor | None,
        grad_column_importance: Tensor | None,
        *_: None,
    ) -> Any:
        state, images = saved[:4], saved[4:]
        per_row, per_column = state[:2]
        if grad_row_importance is None:
            grad_row_importance = torch.zeros_like(per_row)
        if grad_column_importance is None:
            grad_column_importance = torch.zeros_like(per_column)
        rows, columns = halves(images)
        grad_rows, grad_columns = tiled_importance_backward(
            grad_row_importance, grad_column_importance, *state, rows, columns, ctx.kinds, ctx.scope
        )
        return None, None, *padded(in_order(grad_rows, grad_columns, len(rows)))


def _holds_extremum(aligned: Tensor, least: Tensor) -> bool:
    """Return whether the extremum `least` (K, 1) may lie in a strip (n, K, M): most strips need no search for ties."""
    return not bool((aligned.amin((0, 2)) > 1e-3 * least.squeeze(1).abs()).all())


def _empty_state(
    rows: Sequence[Tensor], columns: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    R, K = len(rows), len(columns)
    (B, N), M = rows[0].shape[:2], columns[0].shape[1]
    like = rows[0].new_empty((), dtype=torch.promote_types(rows[0].dtype, torch.float32))
    return (
        like.new_empty(R, K, B, N),
        like.new_empty(R, K, B, M),
        like.new_empty(R, K, B, N),
        like.new_empty(R, K, B, M),
        like.new_empty(R, K, B),
        like.new_empty((B, R, N, K, M) if R * K * B * N * M <= KEPT_ELEMENTS else 0),
    )
