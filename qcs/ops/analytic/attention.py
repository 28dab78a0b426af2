"""Attention weights of the images of a grid, in closed form from its distances, forward and backward.

A similarity hi - D and a dissimilarity D - lo are both A = ±D - min(±D): the sign tells the kinds of matrices apart and
nothing else does. A column takes the sum of its entries in A's unit rows, a row the sum over A's unit columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qcs.ops.analytic.aligned import cubed, per_norm, signs, ties
from qcs.ops.analytic.distance import distance_grid, distance_grid_backward
from qcs.ops.analytic.images import halves, in_order, padded, present
from qcs.ops.analytic.tiled import TiledImportance
from qcs.ops.transforms import differentiable_once, outside_autocast

DENSE_ELEMENTS = 1 << 22  # more distances than this are worked on by strips that fit the cache


def grid_attention(
    rows: Sequence[Tensor], columns: Sequence[Tensor], kinds: str, scope: str, gain: Tensor | float = 1.0
) -> tuple[Tensor, Tensor]:
    """Attention weights of the R row images (R, B, N) and of the K column images (K, B, M).

    Args:
        rows: R images (B, N, C).
        columns: As many images (B, M, C).
        kinds: One matrix of similarity `"s"` or dissimilarity `"d"`, or two by two `"sd"`: similarity on the diagonal,
            dissimilarity off it.
        scope: Where the extremal distances are taken, `"batch"` or `"sample"`.
        gain: Weight of the dissimilarity beside the similarity; for `"sd"` only.
    """
    dtype = rows[0].dtype
    gain = torch.as_tensor(gain, dtype=torch.promote_types(dtype, torch.float32), device=rows[0].device)
    images = padded([image for pair in zip(rows, columns, strict=True) for image in pair])
    if len(rows) * len(columns) * rows[0][..., 0].numel() * columns[0].shape[1] > DENSE_ELEMENTS:
        row_importance, column_importance, *_ = TiledImportance.apply(kinds, scope, *images)
        of_rows, of_columns = _weights(row_importance, column_importance, _shares(kinds, gain))
    else:
        of_rows, of_columns, *_ = _GridAttention.apply(gain, kinds, scope, *images)
    return of_rows.to(dtype), of_columns.to(dtype)


class _GridAttention(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        gain: Tensor, kinds: str, scope: str, row: Tensor, column: Tensor, row2: Tensor | None, column2: Tensor | None
    ) -> tuple[Tensor, ...]:
        with outside_autocast(row):
            distances, bound, cancelled = distance_grid(present(row, row2), present(column, column2))
        aligned = distances * _grid_signs(kinds, distances)
        least = aligned.amin(_extent(scope), keepdim=True)
        aligned.sub_(least)
        squares = aligned.square()
        per_row = per_norm(squares.sum(-1))
        per_column = per_norm(squares.sum(-2))
        importance_of_rows = (aligned * per_column.unsqueeze(-2)).sum(-1)
        importance_of_columns = (aligned * per_row.unsqueeze(-1)).sum(-2)
        importance = importance_of_rows, importance_of_columns
        weights = _weights(*importance, _shares(kinds, gain))
        return *weights, distances, bound, cancelled, aligned, least, per_row, per_column, *importance

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
        of_row_weights: Tensor | None,
        of_column_weights: Tensor | None,
        *_: None,
    ) -> Any:
        gain, row_weights, column_weights, *state = saved
        distances, bound, cancelled, aligned, least, per_row, per_column, *state = state
        row_importance, column_importance, *images = state
        shares = _shares(ctx.kinds, gain)
        of_row_logits = _through_softmax(of_row_weights, row_weights).unsqueeze(1)
        of_column_logits = _through_softmax(of_column_weights, column_weights).unsqueeze(0)
        upstream = _through_importance(
            aligned, per_row, per_column, of_rows=shares * of_row_logits, of_columns=shares * of_column_logits
        )
        _through_extremum(upstream, aligned, least, bound, ctx.scope).mul_(_grid_signs(ctx.kinds, distances))
        rows, columns = halves(images)
        of_rows, of_columns = distance_grid_backward(upstream, distances, cancelled, rows, columns)
        of_gain = None
        if ctx.needs_input_grad[0]:
            owed = (row_importance * of_row_logits).sum((2, 3)) + (column_importance * of_column_logits).sum((2, 3))
            of_gain = owed[0, 1] + owed[1, 0]
        return of_gain, None, None, *padded(in_order(of_rows, of_columns, len(rows)))


def _grid_signs(kinds: str, like: Tensor) -> Tensor:
    return signs(kinds, like)[..., None, None, None]


def _shares(kinds: str, gain: Tensor) -> Tensor | float:
    """How much each matrix counts, to be multiplied with importance (R, K, B, N)."""
    if kinds == "sd":
        similar = torch.eye(2, dtype=gain.dtype, device=gain.device).view(2, 2, 1, 1)
        return torch.lerp(gain, torch.ones_like(gain), similar)
    return 1.0


def _weights(of_rows: Tensor, of_columns: Tensor, shares: Tensor | float) -> tuple[Tensor, Tensor]:
    """Attention weights of rows (R, B, N) and columns (K, B, M) from their importance in every matrix of the grid."""
    return (shares * of_rows).sum(1).softmax(-1), (shares * of_columns).sum(0).softmax(-1)


def _through_softmax(upstream: Tensor | None, weights: Tensor) -> Tensor:
    if upstream is None:
        return torch.zeros_like(weights)
    owed = upstream * weights
    return owed - weights * owed.sum(-1, keepdim=True)


def _through_importance(
    aligned: Tensor, per_row: Tensor, per_column: Tensor, of_rows: Tensor, of_columns: Tensor
) -> Tensor:
    """Gradient of the aligned matrices from those of their importance, the extremum held fixed."""
    alpha = cubed(per_row) * (aligned * of_columns.unsqueeze(-2)).sum(-1)
    beta = cubed(per_column) * (aligned * of_rows.unsqueeze(-1)).sum(-2)
    upstream = torch.addcmul(
        per_row.unsqueeze(-1) * of_columns.unsqueeze(-2), of_rows.unsqueeze(-1), per_column.unsqueeze(-2)
    )
    return upstream.addcmul_(aligned, alpha.unsqueeze(-1) + beta.unsqueeze(-2), value=-1)


def _through_extremum(upstream: Tensor, aligned: Tensor, least: Tensor, bound: Tensor, scope: str) -> Tensor:
    """Takes from the entries at the extremum, in equal shares, what every entry owes to it; in place."""
    extent = _extent(scope)
    at_extremum = ties(aligned, least, bound.amax() if scope == "batch" else bound[:, None, None])
    share = upstream.sum(extent, keepdim=True) / at_extremum.sum(extent, keepdim=True)
    return upstream.addcmul_(at_extremum, share, value=-1)


def _extent(scope: str) -> tuple[int, ...]:
    """Batch, rows and columns of a grid (R, K, B, N, M), or rows and columns only."""
    return (-3, -2, -1) if scope == "batch" else (-2, -1)
