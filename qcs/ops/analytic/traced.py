"""The distances of a grid as plain tensor functions, for compilers: they fuse what is element-wise with its neighbors.

Canceled entries need a branch on data, which a compiler cannot trace. Two operators of ours hold it: they change
nothing and return at once where nothing canceled.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qcs.ops._numerics import CANCELLATION
from qcs.ops.analytic.distance import (
    CENTER_STRIDE,
    Distances,
    add_gradients_by_differences,
    canceled_entries,
    replace_by_differences,
)


def traced_grid(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> Distances:
    """Return what `distance_grid` returns."""
    x, y = _centered(rows, columns)
    x_norms, y_norms = x.square().sum(-1), y.square().sum(-1)
    bounds = x_norms.unsqueeze(2) + y_norms.unsqueeze(1)
    squared = bounds - 2 * torch.bmm(x, y.mT)
    any_canceled = torch.logical_not((squared > CANCELLATION * bounds).all())  # NaN is cancellation
    grid = Distances(squared.sqrt(), x_norms, y_norms, any_canceled)
    replace_canceled(*grid, rows, columns)
    return grid


def traced_grid_backward(
    grad_distances: Tensor, grid: Distances, rows: Sequence[Tensor], columns: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return what `distance_grid_backward` returns."""
    x, y = _centered(rows, columns)
    # Rounding may put an entry below the threshold here that was not below it before; its product is good enough then.
    canceled = canceled_entries(grid) & grid.any_canceled
    w = torch.where(canceled, 0, grad_distances / grid.distances)
    grad_rows = w.sum(2, keepdim=True) * x - torch.bmm(w, y)
    grad_columns = w.sum(1).unsqueeze(2) * y - torch.bmm(w.mT, x)
    add_canceled(grad_rows, grad_columns, grad_distances, *grid, rows, columns)
    return grad_rows.to(rows[0].dtype), grad_columns.to(rows[0].dtype)


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
    if any_canceled:
        canceled = canceled_entries(Distances(distances, x_norms, y_norms, any_canceled))
        replace_by_differences(distances, canceled, rows, columns)


@torch.library.custom_op("qcs::add_canceled", mutates_args=("grad_rows", "grad_columns"))
def add_canceled(
    grad_rows: Tensor,
    grad_columns: Tensor,
    grad_distances: Tensor,
    distances: Tensor,
    x_norms: Tensor,
    y_norms: Tensor,
    any_canceled: Tensor,
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
) -> None:
    """Add the terms of canceled entries to the gradients (B, R*N, C) and (B, K*M, C), in place."""
    if any_canceled:
        canceled = canceled_entries(Distances(distances, x_norms, y_norms, any_canceled))
        entries = canceled, grad_distances.contiguous(), distances.contiguous()
        add_gradients_by_differences(grad_rows, grad_columns, *entries, rows, columns)


def _centered(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return all row tokens (B, R*N, C) and all column tokens (B, K*M, C), centered."""
    precise = torch.promote_types(rows[0].dtype, torch.float32)
    center = columns[0][:, ::CENTER_STRIDE].mean(1, keepdim=True, dtype=precise)
    return torch.cat([row - center for row in rows], 1), torch.cat([column - center for column in columns], 1)
