"""Importance of rows and columns from strips of a grid of distances, as operators that run without a compiler.

Every operation works on a strip that stays in the cache. Distances are kept for later passes if the caller has memory
for them; without, state grows with the number of tokens, not of pairs, and every pass computes them again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qcs.ops._autograd import batch_by_loop
from qcs.ops.analytic.closed_form import (
    Extrema,
    Padding,
    aligned_matrices,
    grad_signed_of,
    importance_of,
    over_cubes,
    per_tie,
    reciprocal_norms,
    ties,
)
from qcs.ops.analytic.grid import Centered, Grid, TokenGradients
from qcs.ops.precision import float32_products, is_capturing


@torch.library.custom_op("qcs::importance", mutates_args=())
def importance(
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
    row_padding: Tensor | None,
    column_padding: Tensor | None,
    kinds: str,
    scope: str,
    keep: bool,
) -> list[Tensor]:
    """Return the importance of rows (B, R, N, K) and of columns (B, R, K, M) in each matrix of a grid, and state.

    The state for the backward pass: reciprocal norms of rows and columns, `Extrema`, kept distances (B, R, N, K, M),
    empty if they are not kept, `Centered` tokens, and whether products canceled anywhere.
    """
    with float32_products(rows[0].device):
        return _importance(rows, columns, Padding(row_padding, column_padding), kinds, scope, keep)


def _importance(
    rows: Sequence[Tensor], columns: Sequence[Tensor], padding: Padding, kinds: str, scope: str, keep: bool
) -> list[Tensor]:
    result = _empty(rows, columns, scope, keep)
    row_importance, column_importance, per_row, per_column, least, bound, kept, *tokens, any_canceled = result
    grid = Grid(rows, columns, kinds, Centered(*tokens), kept, any_canceled)
    lowest = column_importance.new_full((grid.B, grid.R, grid.K), torch.inf)
    for strip in grid.first_pass():
        here = padding.part(*strip.rows).fill(strip.signed, torch.inf).amin((2, 4))
        lowest[strip.columns] = torch.minimum(lowest[strip.columns], here)
    extrema = Extrema.over(scope, lowest, grid.tokens.bounds())
    if kept.numel() and grid.is_one_strip:
        return [*importance_of(kept, extrema, padding), *extrema, *result[6:]]

    least.copy_(extrema.least)
    bound.copy_(extrema.bound)
    column_importance.zero_()
    per_column.zero_()
    for strip in grid.strips():
        padding_here = padding.part(*strip.rows)
        aligned = aligned_matrices(strip.signed, extrema.part(*strip.columns), padding_here)
        squares = aligned.square()
        per_row[strip.rows] = per_row_here = reciprocal_norms(squares.sum(4), padding_here.row_mask())
        per_column[strip.columns] += squares.sum(2)
        column_importance[strip.columns] += torch.mul(aligned, per_row_here.unsqueeze(4), out=squares).sum(2)
    reciprocal_norms(per_column, padding.column_mask())
    for strip in grid.strips():
        aligned = aligned_matrices(strip.signed, extrema.part(*strip.columns), padding.part(*strip.rows))
        row_importance[strip.rows] = aligned.mul_(per_column[strip.columns].unsqueeze(2)).sum(4)
    return result


@torch.library.custom_op("qcs::importance_backward", mutates_args=())
def importance_backward(
    grad_rows: Tensor,
    grad_columns: Tensor,
    state: Sequence[Tensor],
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
    row_padding: Tensor | None,
    column_padding: Tensor | None,
    kinds: str,
    scope: str,
) -> tuple[Tensor, Tensor]:
    """Return gradients of the row tokens (B, R*N, C) and of the column tokens (B, K*M, C), image after image."""
    padding = Padding(row_padding, column_padding)
    with float32_products(rows[0].device):
        gradients = _importance_backward(grad_rows, grad_columns, state, rows, columns, padding, kinds, scope)
    return gradients.rows.to(rows[0].dtype), gradients.columns.to(rows[0].dtype)


def _importance_backward(
    grad_rows: Tensor,
    grad_columns: Tensor,
    state: Sequence[Tensor],
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
    padding: Padding,
    kinds: str,
    scope: str,
) -> TokenGradients:
    per_row, per_column, least, bound, kept, *tokens, any_canceled = state
    extrema = Extrema(least, bound)
    grid = Grid(rows, columns, kinds, Centered(*tokens), kept, any_canceled)
    gradients = TokenGradients(grid)
    if kept.numel() and grid.is_one_strip:
        grad = grad_signed_of(kept, extrema, padding, scope, per_row, per_column, grad_rows, grad_columns)
        for strip in grid.strips(with_tokens=True):
            gradients.add(strip, grad[strip.rows])
        return gradients

    alpha, row_sums = torch.empty_like(per_row), torch.empty_like(per_row)
    beta, column_sums = torch.zeros_like(per_column), torch.zeros_like(per_column)
    tied = per_row.new_zeros(grid.B, grid.R, grid.K)
    for strip in grid.strips():
        here, extrema_here = padding.part(*strip.rows), extrema.part(*strip.columns)
        aligned = aligned_matrices(strip.signed, extrema_here, here)
        if _holds_extremum(aligned, extrema_here):
            tied[strip.columns] += ties(aligned, extrema_here, here).sum((2, 4))
        row_sums[strip.rows] = aligned.sum(4)
        column_sums[strip.columns] += aligned.sum(2)
        products = aligned * grad_columns[strip.columns].unsqueeze(2)
        alpha[strip.rows] = products.sum(4)
        beta[strip.columns] += torch.mul(aligned, grad_rows[strip.rows].unsqueeze(4), out=products).sum(2)
    alpha, beta = over_cubes(alpha, per_row), over_cubes(beta, per_column)
    # The sum of all gradients follows from vectors alone.
    sums = grad_columns.sum(3) * per_row.sum(2) + grad_rows.sum(2) * per_column.sum(3)
    sums -= (alpha * row_sums).sum(2) + (beta * column_sums).sum(3)
    per_entry = Extrema(per_tie(scope, sums, tied), bound)

    for strip in grid.strips(with_tokens=True):
        here, extrema_here = padding.part(*strip.rows), extrema.part(*strip.columns)
        aligned = aligned_matrices(strip.signed, extrema_here, here)
        grad = per_row[strip.rows].unsqueeze(4) * grad_columns[strip.columns].unsqueeze(2)
        grad += grad_rows[strip.rows].unsqueeze(4) * per_column[strip.columns].unsqueeze(2)
        if _holds_extremum(aligned, extrema_here):
            given_up = per_entry.part(*strip.columns).least[:, :, None, :, None]
            grad.addcmul_(ties(aligned, extrema_here, here), given_up, value=-1)
        shifts = alpha[strip.rows].unsqueeze(4) + beta[strip.columns].unsqueeze(2)
        gradients.add(strip, grad.addcmul_(aligned, shifts, value=-1))
    return gradients


@importance.register_fake
def _(
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
    row_padding: Tensor | None,
    column_padding: Tensor | None,
    kinds: str,
    scope: str,
    keep: bool,
) -> list[Tensor]:
    return _empty(rows, columns, scope, keep)


@importance_backward.register_fake
def _(
    grad_rows: Tensor,
    grad_columns: Tensor,
    state: Sequence[Tensor],
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
    row_padding: Tensor | None,
    column_padding: Tensor | None,
    kinds: str,
    scope: str,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(torch.cat(list(rows), 1)), torch.empty_like(torch.cat(list(columns), 1))


importance.register_vmap(batch_by_loop(importance))
importance_backward.register_vmap(batch_by_loop(importance_backward))


def _holds_extremum(aligned: Tensor, extrema: Extrema) -> bool:
    """Return whether an extremum may lie in a strip: most strips of many need no search for ties."""
    return is_capturing(aligned.device) or not bool((aligned.amin((2, 4)) > 1e-3 * extrema.least.abs()).all())


def _empty(rows: Sequence[Tensor], columns: Sequence[Tensor], scope: str, keep: bool) -> list[Tensor]:
    R, K, extrema = len(rows), len(columns), len(rows[0]) if scope == "sample" else 1
    (B, N, C), M = rows[0].shape, columns[0].shape[1]
    like = rows[0].new_empty((), dtype=torch.promote_types(rows[0].dtype, torch.float32))
    return [
        like.new_empty(B, R, N, K),
        like.new_empty(B, R, K, M),
        like.new_empty(B, R, N, K),
        like.new_empty(B, R, K, M),
        like.new_empty(extrema, R, K),
        like.new_empty(extrema),
        like.new_empty((B, R, N, K, M) if keep else 0),
        like.new_empty(B, R * N, C),
        like.new_empty(B, K * M, C),
        like.new_empty(B, R * N),
        like.new_empty(B, K * M),
        like.new_empty((), dtype=torch.bool),
    ]
