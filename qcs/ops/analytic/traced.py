"""Importance of rows and columns as plain tensor functions, for compilers: they fuse what is element-wise.

Canceled entries need a branch on data, which a compiler cannot trace. Two operators of ours hold it: they change
nothing and return at once where nothing canceled.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qcs.ops._numerics import CANCELLATION
from qcs.ops.analytic import differences
from qcs.ops.analytic.closed_form import Extrema, Padding, grad_signed_of, importance_of, signs
from qcs.ops.analytic.grid import CENTER_STRIDE, Centered
from qcs.ops.precision import is_capturing


def importance(
    rows: Sequence[Tensor], columns: Sequence[Tensor], padding: Padding, kinds: str, scope: str
) -> list[Tensor]:
    """Return what `strips.importance` returns with kept distances."""
    tokens = _centered(rows, columns)
    bounds = _bounds(tokens)
    squared = bounds - 2 * torch.bmm(tokens.x, tokens.y.mT)
    any_canceled = torch.logical_not((squared > CANCELLATION * bounds).all())  # NaN is cancellation
    distances = squared.sqrt()
    replace_canceled(distances, tokens.x_norms, tokens.y_norms, any_canceled, rows, columns)
    R, K = len(rows), len(columns)
    sign = signs(kinds, distances)[:, None, :, None]
    signed = distances.view(-1, R, rows[0].shape[1], K, columns[0].shape[1]) * sign
    extrema = Extrema.over(scope, padding.fill(signed, torch.inf).amin((2, 4)), tokens.bounds())
    return [*importance_of(signed, extrema, padding), *extrema, signed, *tokens, any_canceled]


def importance_backward(
    grad_rows: Tensor,
    grad_columns: Tensor,
    state: Sequence[Tensor],
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
    padding: Padding,
    scope: str,
) -> tuple[Tensor, Tensor]:
    """Return what `strips.importance_backward` returns."""
    per_row, per_column, least, bound, signed, *centered, any_canceled = state
    tokens, extrema = Centered(*centered), Extrema(least, bound)
    grad = grad_signed_of(signed, extrema, padding, scope, per_row, per_column, grad_rows, grad_columns)
    grad, signed = (matrices.flatten(3).flatten(1, 2) for matrices in (grad, signed))
    # Rounding may put an entry below the threshold here that was not below it before; its product is good enough then.
    canceled = _canceled(signed, tokens) & any_canceled
    w = torch.where(canceled, 0, grad / signed)
    grad_x = w.sum(2).unsqueeze(2) * tokens.x - torch.bmm(w, tokens.y)
    grad_y = w.sum(1).unsqueeze(2) * tokens.y - torch.bmm(w.mT, tokens.x)
    add_canceled(grad_x, grad_y, grad, signed, tokens.x_norms, tokens.y_norms, any_canceled, rows, columns)
    return grad_x.to(rows[0].dtype), grad_y.to(rows[0].dtype)


@torch.library.custom_op("qcs::replace_canceled", mutates_args=("distances",))
def replace_canceled(
    distances: Tensor,
    x_norms: Tensor,
    y_norms: Tensor,
    any_canceled: Tensor,
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
) -> None:
    """Recompute the canceled distances (B, R*N, K*M) from differences, in place."""
    if is_capturing(any_canceled.device) or any_canceled:
        tokens = Centered(distances, distances, x_norms, y_norms)  # only the norms are read
        differences.replace(distances, _canceled(distances, tokens), rows, columns)


@torch.library.custom_op("qcs::add_canceled", mutates_args=("grad_rows", "grad_columns"))
def add_canceled(
    grad_rows: Tensor,
    grad_columns: Tensor,
    grad_signed: Tensor,
    signed: Tensor,
    x_norms: Tensor,
    y_norms: Tensor,
    any_canceled: Tensor,
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
) -> None:
    """Add the terms of canceled entries to the gradients (B, R*N, C) and (B, K*M, C), in place."""
    if is_capturing(any_canceled.device) or any_canceled:
        canceled = _canceled(signed, Centered(signed, signed, x_norms, y_norms))
        entries = canceled, grad_signed.contiguous(), signed.contiguous()
        differences.add_gradients(grad_rows, grad_columns, *entries, rows, columns)


def _centered(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> Centered:
    precise = torch.promote_types(rows[0].dtype, torch.float32)
    center = columns[0][:, ::CENTER_STRIDE].mean(1, keepdim=True, dtype=precise)
    x, y = (torch.cat([image - center for image in images], 1) for images in (rows, columns))
    return Centered(x, y, x.square().sum(-1), y.square().sum(-1))


def _bounds(tokens: Centered) -> Tensor:
    """Return |x|² + |y|² of all pairs (B, R*N, K*M)."""
    return tokens.x_norms.unsqueeze(2) + tokens.y_norms.unsqueeze(1)


def _canceled(signed: Tensor, tokens: Centered) -> Tensor:
    """Return where the product form canceled (B, R*N, K*M)."""
    return ~(signed.square() > CANCELLATION * _bounds(tokens))
