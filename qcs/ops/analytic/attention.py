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
from qcs.ops.analytic.distance import Distances, distance_grid, distance_grid_backward
from qcs.ops.analytic.traced import traced_grid, traced_grid_backward

T = TypeVar("T")


class GridAttention(torch.autograd.Function):
    """Attention weights of rows (B, R, N) and of columns (B, K, M); the other outputs are state for the backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        gain: Tensor, kinds: str, scope: str, row: Tensor, column: Tensor, row2: Tensor | None, column2: Tensor | None
    ) -> tuple[Tensor, ...]:
        rows, columns = present(row, row2), present(column, column2)
        with outside_autocast(row):
            if torch.compiler.is_compiling():
                grid = traced_grid(rows, columns)
            else:
                grid = Distances(*distance_grid(rows, columns))
        matrices = _as_matrices(grid.distances, len(rows), len(columns))
        signed = matrices.mul_(_broadcast(signs(kinds, matrices)))
        least = signed.amin(_extent(scope), keepdim=True)
        aligned = signed - least
        squares = aligned.square()
        per_row = reciprocal_norms(squares.sum(4, keepdim=True))
        per_column = reciprocal_norms(squares.sum(2, keepdim=True))
        row_importance = (aligned * per_column).sum(4)
        column_importance = (aligned * per_row).sum(2)
        importance = row_importance, column_importance
        weights = combined_weights(*importance, matrix_weights(kinds, gain))
        return *weights, *importance, least, per_row, per_column, *grid

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
        gain, row_weights, column_weights, row_importance, column_importance, *state = saved
        least, per_row, per_column, *state = state
        signed_grid, images = Distances(*state[:4]), state[4:]  # distances of similarity are negative here
        rows, columns = halves(images)
        aligned = _as_matrices(signed_grid.distances, len(rows), len(columns)) - least
        grad_row_logits = _softmax_backward(grad_row_weights, row_weights)
        grad_column_logits = _softmax_backward(grad_column_weights, column_weights)
        per_matrix = _broadcast(matrix_weights(ctx.kinds, gain))
        grad_signed = _importance_backward(
            aligned,
            per_row,
            per_column,
            per_matrix * grad_row_logits[..., None, None],
            per_matrix * grad_column_logits[:, None, None],
        )
        _extremum_backward(grad_signed, aligned, least, signed_grid.bound(), ctx.scope)
        grad_distances = grad_signed.flatten(3).flatten(1, 2)
        if torch.compiler.is_compiling():
            grads = traced_grid_backward(grad_distances, signed_grid, rows, columns)
        else:
            grads = distance_grid_backward(grad_distances, *signed_grid, rows, columns)
        grad_gain = None
        if ctx.needs_input_grad[0]:
            grad_gain = _off_diagonal(row_importance.mT, grad_row_logits.unsqueeze(2))
            grad_gain = grad_gain + _off_diagonal(column_importance, grad_column_logits.unsqueeze(1))
        return grad_gain, None, None, *padded(in_order(*grads, len(rows)))


def signs(kinds: str, like: Tensor) -> Tensor:
    """Return -1 for similarity, +1 for dissimilarity: (1, 1) for `"s"` and `"d"`, (2, 2) for `"sd"`."""
    if kinds == "sd":
        return 1 - 2 * torch.eye(2, dtype=like.dtype, device=like.device)
    return torch.full((1, 1), -1.0 if kinds == "s" else 1.0, dtype=like.dtype, device=like.device)


def matrix_weights(kinds: str, gain: Tensor) -> Tensor:
    """Return the factor (R, K) of each matrix's importance: 1 for similarity, the gain for dissimilarity."""
    if kinds == "sd":
        return torch.lerp(gain, torch.ones_like(gain), torch.eye(2, dtype=gain.dtype, device=gain.device))
    return torch.ones_like(gain).view(1, 1)


def combined_weights(row_importance: Tensor, column_importance: Tensor, per_matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return attention weights of rows (B, R, N) and of columns (B, K, M) from their importance in every matrix.

    Args:
        row_importance: (B, R, N, K).
        column_importance: (B, R, K, M).
        per_matrix: Factors (R, K).
    """
    row_logits = (row_importance * per_matrix.unsqueeze(1)).sum(3)
    column_logits = (column_importance * per_matrix.unsqueeze(2)).sum(1)
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
    tolerance = (TIE_ULPS * finfo.eps * rounding).clamp_min(8 * finfo.tiny)
    return torch.addcmul(tolerance.new_tensor(5), aligned, -4 / tolerance).clamp_(0, 1)


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


def _as_matrices(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """Return (B, R*N, K*M) as (B, R, N, K, M), a view."""
    B, n, m = matrix.shape
    return matrix.view(B, rows, n // rows, columns, m // columns)


def _broadcast(per_matrix: Tensor) -> Tensor:
    """Return one number per matrix (R, K) so that it multiplies matrices (B, R, N, K, M)."""
    return per_matrix[:, None, :, None]


def _softmax_backward(grad_weights: Tensor | None, weights: Tensor) -> Tensor:
    if grad_weights is None:
        return torch.zeros_like(weights)
    weighted = grad_weights * weights
    return weighted - weights * weighted.sum(-1, keepdim=True)


def _importance_backward(
    aligned: Tensor, per_row: Tensor, per_column: Tensor, grad_rows: Tensor, grad_columns: Tensor
) -> Tensor:
    """Return the gradient of the aligned matrices from the gradients of importance, with the extremum held fixed."""
    alpha = over_cubes((aligned * grad_columns).sum(4, keepdim=True), per_row)
    beta = over_cubes((aligned * grad_rows).sum(2, keepdim=True), per_column)
    grad_aligned = torch.addcmul(per_row * grad_columns, grad_rows, per_column)
    return grad_aligned.addcmul_(aligned, alpha + beta, value=-1)


def _extremum_backward(grad_aligned: Tensor, aligned: Tensor, least: Tensor, bound: Tensor, scope: str) -> None:
    """Subtract the gradient of the extremum from the entries that attain it, in equal parts; in place."""
    extent = _extent(scope)
    at_extremum = ties(aligned, least, bound.amax() if scope == "batch" else bound[:, None, None, None, None])
    grad_per_tie = grad_aligned.sum(extent, keepdim=True) / at_extremum.sum(extent, keepdim=True).clamp_min(1)
    grad_aligned.addcmul_(at_extremum, grad_per_tie, value=-1)


def _extent(scope: str) -> tuple[int, ...]:
    """Return batch, rows and columns of matrices (B, R, N, K, M), or rows and columns only."""
    return (-5, -3, -1) if scope == "batch" else (-3, -1)


def _off_diagonal(importance: Tensor, grad_logits: Tensor) -> Tensor:
    """Return the sum of importance (B, 2, 2, N) times its gradient over the two matrices of dissimilarity."""
    per_matrix = (importance * grad_logits).sum((0, 3))
    return per_matrix[0, 1] + per_matrix[1, 0]
