"""Attention weights of a grid of images in closed form, forward and backward.

A similarity matrix hi - D and a dissimilarity matrix D - lo both have the form A = ±D - min(±D), with - for similarity
and + for dissimilarity. The importance of a column is the sum of its entries in A with rows of unit norm, the
importance of a row is the sum of its entries in A with columns of unit norm.

Autograd functions take a fixed number of tensors, so that compilers can trace them: row, column and, two by two, a
second row and a second column image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from qcs.ops._autograd import differentiable_once, outside_autocast
from qcs.ops._numerics import CANCELLATION, NORM_FLOOR, TIE_ULPS
from qcs.ops.analytic.distance import distance_grid, distance_grid_backward

T = TypeVar("T")


class GridAttention(torch.autograd.Function):
    """Attention weights of rows (R, B, N) and of columns (K, B, M); the other outputs are state for the backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        gain: Tensor, kinds: str, scope: str, row: Tensor, column: Tensor, row2: Tensor | None, column2: Tensor | None
    ) -> tuple[Tensor, ...]:
        with outside_autocast(row):
            distances, bound, any_canceled = distance_grid(present(row, row2), present(column, column2))
        aligned = distances * _grid_signs(kinds, distances)
        least = aligned.amin(_extent(scope), keepdim=True)
        aligned.sub_(least)
        squares = aligned.square()
        per_row = reciprocal_norms(squares.sum(-1))
        per_column = reciprocal_norms(squares.sum(-2))
        row_importance = (aligned * per_column.unsqueeze(-2)).sum(-1)
        column_importance = (aligned * per_row.unsqueeze(-1)).sum(-2)
        importance = row_importance, column_importance
        weights = combined_weights(*importance, matrix_weights(kinds, gain))
        return *weights, distances, bound, any_canceled, aligned, least, per_row, per_column, *importance

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        gain, ctx.kinds, ctx.scope, row, column, row2, column2 = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(gain, *output, *present(row, row2), *present(column, column2))

    @staticmethod
    @differentiable_once
    def backward(
        ctx: Any,
        saved: Sequence[Tensor],
        grad_row_weights: Tensor | None,
        grad_column_weights: Tensor | None,
        *_: None,
    ) -> Any:
        gain, row_weights, column_weights, *state = saved
        distances, bound, any_canceled, aligned, least, per_row, per_column, *state = state
        row_importance, column_importance, *images = state
        per_matrix = matrix_weights(ctx.kinds, gain)
        grad_row_logits = _softmax_backward(grad_row_weights, row_weights).unsqueeze(1)
        grad_column_logits = _softmax_backward(grad_column_weights, column_weights).unsqueeze(0)
        grad_aligned = _importance_backward(
            aligned, per_row, per_column, per_matrix * grad_row_logits, per_matrix * grad_column_logits
        )
        grad_distances = _extremum_backward(grad_aligned, aligned, least, bound, ctx.scope)
        grad_distances.mul_(_grid_signs(ctx.kinds, distances))
        rows, columns = halves(images)
        grad_rows, grad_columns = distance_grid_backward(grad_distances, distances, any_canceled, rows, columns)
        grad_gain = None
        if ctx.needs_input_grad[0]:
            per_matrix_sums = (row_importance * grad_row_logits).sum((2, 3))
            per_matrix_sums = per_matrix_sums + (column_importance * grad_column_logits).sum((2, 3))
            grad_gain = per_matrix_sums[0, 1] + per_matrix_sums[1, 0]
        return grad_gain, None, None, *padded(in_order(grad_rows, grad_columns, len(rows)))


def signs(kinds: str, like: Tensor) -> Tensor:
    """Return -1 for similarity, +1 for dissimilarity: (1, 1) for `"s"` and `"d"`, (2, 2) for `"sd"`."""
    if kinds == "sd":
        return 1 - 2 * torch.eye(2, dtype=like.dtype, device=like.device)
    return torch.full((1, 1), -1.0 if kinds == "s" else 1.0, dtype=like.dtype, device=like.device)


def matrix_weights(kinds: str, gain: Tensor) -> Tensor | float:
    """Return the factor of each matrix's importance (R, K, B, N): 1 for similarity, the gain for dissimilarity."""
    if kinds == "sd":
        similar = torch.eye(2, dtype=gain.dtype, device=gain.device).view(2, 2, 1, 1)
        return torch.lerp(gain, torch.ones_like(gain), similar)
    return 1.0


def combined_weights(
    row_importance: Tensor, column_importance: Tensor, per_matrix: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Return attention weights of rows (R, B, N) and columns (K, B, M) from their importance in every matrix."""
    row_logits = (per_matrix * row_importance).sum(1)
    column_logits = (per_matrix * column_importance).sum(0)
    return row_logits.softmax(-1), column_logits.softmax(-1)


def reciprocal_norms(squares: Tensor) -> Tensor:
    """Return 1 / norm from sums of squares, the norm at least `NORM_FLOOR`; overwrites `squares`."""
    return squares.clamp_min_(NORM_FLOOR**2).rsqrt_()


def over_cubes(moments: Tensor, reciprocal: Tensor) -> Tensor:
    """Return moments / norm³, and 0 where the norm is the constant floor.

    The factors are applied one by one: in float32, 1 / norm³ vanishes for norms from 1e13 on, the result does not.
    """
    quotients = moments * reciprocal * reciprocal * reciprocal
    return torch.where(reciprocal < 0.99 / NORM_FLOOR, quotients, 0)


def ties(aligned: Tensor, least: Tensor, bound: Tensor) -> Tensor:
    """Return 1 for the entries at the extremum up to rounding, 0 for the others.

    The rounding error of a distance D is that of D² in the product form, a few units of `bound`, divided by D; at least
    a few units of D, and at most what the cancellation threshold permits. Between 1 and 0 lies a ramp a quarter as wide
    as the tolerance.
    """
    finfo, extremum = torch.finfo(least.dtype), least.abs()
    rounding = (bound / extremum).minimum(extremum / CANCELLATION).maximum(extremum)
    tolerance = (TIE_ULPS * finfo.eps * rounding).clamp_min(finfo.tiny)
    return aligned.div(tolerance).mul_(-4).add_(5).clamp_(0, 1)


def present(first: Tensor, second: Tensor | None) -> list[Tensor]:
    """Return the images that are not None."""
    return [first] if second is None else [first, second]


def halves(images: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Split images saved rows first into rows and columns: a grid has as many of one as of the other."""
    return images[: len(images) // 2], images[len(images) // 2 :]


def in_order(rows: Tensor, columns: Tensor, count: int) -> list[Tensor]:
    """Return row, column, second row, second column from tensors (B, count * N, C) that hold `count` images each."""
    pairs = zip(rows.chunk(count, 1), columns.chunk(count, 1), strict=True)
    return [image for pair in pairs for image in pair]


def padded(images: Sequence[T]) -> list[T | None]:
    """Return four arguments, None for the missing images."""
    return [*images, *[None] * (4 - len(images))]


def _grid_signs(kinds: str, like: Tensor) -> Tensor:
    return signs(kinds, like)[..., None, None, None]


def _softmax_backward(grad_weights: Tensor | None, weights: Tensor) -> Tensor:
    if grad_weights is None:
        return torch.zeros_like(weights)
    weighted = grad_weights * weights
    return weighted - weights * weighted.sum(-1, keepdim=True)


def _importance_backward(
    aligned: Tensor, per_row: Tensor, per_column: Tensor, grad_rows: Tensor, grad_columns: Tensor
) -> Tensor:
    """Return the gradient of the aligned matrices from the gradients of importance, with the extremum held fixed."""
    alpha = over_cubes((aligned * grad_columns.unsqueeze(-2)).sum(-1), per_row)
    beta = over_cubes((aligned * grad_rows.unsqueeze(-1)).sum(-2), per_column)
    grad_aligned = torch.addcmul(
        per_row.unsqueeze(-1) * grad_columns.unsqueeze(-2), grad_rows.unsqueeze(-1), per_column.unsqueeze(-2)
    )
    return grad_aligned.addcmul_(aligned, alpha.unsqueeze(-1) + beta.unsqueeze(-2), value=-1)


def _extremum_backward(grad_aligned: Tensor, aligned: Tensor, least: Tensor, bound: Tensor, scope: str) -> Tensor:
    """Subtract the gradient of the extremum from the entries that attain it, in equal parts; in place."""
    extent = _extent(scope)
    at_extremum = ties(aligned, least, bound.amax() if scope == "batch" else bound[:, None, None])
    grad_per_tie = grad_aligned.sum(extent, keepdim=True) / at_extremum.sum(extent, keepdim=True)
    return grad_aligned.addcmul_(at_extremum, grad_per_tie, value=-1)


def _extent(scope: str) -> tuple[int, ...]:
    """Return batch, rows and columns of a grid (R, K, B, N, M), or rows and columns only."""
    return (-3, -2, -1) if scope == "batch" else (-2, -1)
