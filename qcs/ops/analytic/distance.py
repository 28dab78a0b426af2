"""Distances of every row image to every column image from one product per sample, exact where a product is not.

|x - y|² = |x|² + |y|² - 2 x·y turns distances into a matrix product, several times faster than forming differences,
but it cancels when tokens are close relative to their norms. Subtracting one vector from all tokens changes no distance
and removes most of the cancellation; the entries that still cancel are computed from differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from qcs.ops._autograd import batch_by_loop, differentiable_once, outside_autocast
from qcs.ops._numerics import CANCELLATION

CENTER_STRIDE = 8  # every eighth token is enough to estimate the mean
_STACKED_ELEMENTS = 900_000  # stacked tokens of this many elements stay in the cache between their uses
_GATHERED_ELEMENTS = 1 << 20
_DENSE_FRACTION = 0.25  # above this fraction of canceled entries, forming all differences is cheaper than gathering


@torch.library.custom_op("qcs::distance_grid", mutates_args=())
def distance_grid(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return distances (R, K, B, N, M) of R row images (B, N, C) to K column images (B, M, C), in float32 or better.

    Also return a bound (B) on |x|² + |y|² per sample, of which the product form's errors are a few roundings, and
    whether any entry canceled (0-d bool), so that some distances were computed from differences.
    """
    distances, bound, any_canceled = _empty_grid(rows, columns)
    row_norms, column_norms = (distances.new_empty(distances.shape[2], _tokens(images)) for images in (rows, columns))
    for part, x, y in _centered_parts(rows, columns):
        x_norms = torch.square(torch.linalg.vector_norm(x, dim=-1), out=row_norms[part])
        y_norms = torch.square(torch.linalg.vector_norm(y, dim=-1), out=column_norms[part])
        squared = torch.baddbmm(x_norms.unsqueeze(2) + y_norms.unsqueeze(1), x, y.mT, alpha=-2)
        torch.sqrt(_as_grid(squared, len(rows), len(columns)), out=distances[:, :, part])
    torch.add(row_norms.amax(1), column_norms.amax(1), out=bound)
    # May report cancellation where there is none, never the reverse; NaN, from a square below 0, is cancellation.
    any_canceled.copy_(~(distances.amin().square() > CANCELLATION * bound.amax()))
    if any_canceled:
        for r, k, canceled in _canceled(distances, rows, columns):
            replace_by_differences(distances[r, k], canceled, rows[r], columns[k])
    return distances, bound, any_canceled


@torch.library.custom_op("qcs::distance_grid_backward", mutates_args=())
def distance_grid_backward(
    grad_distances: Tensor, distances: Tensor, any_canceled: Tensor, rows: Sequence[Tensor], columns: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return gradients of the row tokens (B, R*N, C) and of the column tokens (B, K*M, C), image after image.

    With W = grad_distances / distances, 0 where tokens are equal, the gradient of row i is Σⱼ Wᵢⱼ (xᵢ - yⱼ).
    """
    ratios = grad_distances / distances
    all_canceled = list(_canceled(distances, rows, columns)) if any_canceled else []
    for r, k, canceled in all_canceled:
        ratios[r, k].masked_fill_(canceled, 0)
    grad_rows, grad_columns = _empty_gradients(rows, columns, distances.dtype)
    for part, x, y in _centered_parts(rows, columns):
        w = ratios[:, :, part].permute(2, 0, 3, 1, 4).reshape(len(x), x.shape[1], y.shape[1])
        _weighted_differences(w, x, y, out=grad_rows[part])
        _weighted_differences(w.mT, y, x, out=grad_columns[part])
    for r, k, canceled in all_canceled:
        grad_row = grad_rows.chunk(len(rows), 1)[r]
        grad_column = grad_columns.chunk(len(columns), 1)[k]
        entries = canceled, grad_distances[r, k], distances[r, k]
        add_gradients_by_differences(grad_row, grad_column, *entries, rows[r], columns[k])
    return grad_rows.to(rows[0].dtype), grad_columns.to(rows[0].dtype)


@distance_grid.register_fake
def _(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return _empty_grid(rows, columns)


@distance_grid_backward.register_fake
def _(
    grad_distances: Tensor, distances: Tensor, any_canceled: Tensor, rows: Sequence[Tensor], columns: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    return _empty_gradients(rows, columns, rows[0].dtype)


distance_grid.register_vmap(batch_by_loop(distance_grid))
distance_grid_backward.register_vmap(batch_by_loop(distance_grid_backward))


class PairDistances(torch.autograd.Function):
    """Distances (B, N, M) of the tokens q (B, N, C) to k (B, M, C), and whether any canceled."""

    generate_vmap_rule = True

    @staticmethod
    def forward(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        with outside_autocast(q):
            distances, _, any_canceled = distance_grid([q], [k])
        return distances.view(distances.shape[2:]), any_canceled

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, *output)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, saved: Sequence[Tensor], grad_distances: Tensor | None, _: None) -> Any:
        if grad_distances is None:
            return None, None
        q, k, distances, any_canceled = saved
        grids = (t.unsqueeze(0).unsqueeze(0) for t in (grad_distances, distances))
        return distance_grid_backward(*grids, any_canceled, [q], [k])


def replace_by_differences(distances: Tensor, canceled: Tensor, row: Tensor, column: Tensor) -> None:
    """Recompute the canceled distances (B, N, M) between row (B, N, C) and column (B, M, C), in place.

    Exact for all tokens, at several times the cost of a product.
    """
    if canceled.sum() > _DENSE_FRACTION * canceled.numel():
        x, y = row.to(distances.dtype), column.to(distances.dtype)
        distances.copy_(torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist"))
        return
    for b, i, j in _entries(canceled, row.shape[2]):
        x, y = row[b, i].to(distances.dtype), column[b, j].to(distances.dtype)
        distances[b, i, j] = torch.linalg.vector_norm(x - y, dim=-1)


def add_gradients_by_differences(
    grad_row: Tensor,
    grad_column: Tensor,
    canceled: Tensor,
    grad_distances: Tensor,
    distances: Tensor,
    row: Tensor,
    column: Tensor,
) -> None:
    """Add the terms of canceled entries, grad_distance / distance times difference, to the gradients of both images."""
    if canceled.sum() > _DENSE_FRACTION * canceled.numel():
        g = grad_distances.where(canceled, 0)
        x, y = row.to(distances.dtype).contiguous(), column.to(distances.dtype).contiguous()
        grad_row += torch.ops.aten._cdist_backward(g, x, y, 2.0, distances)
        grad_column += torch.ops.aten._cdist_backward(g.mT.contiguous(), y, x, 2.0, distances.mT.contiguous())
        return
    for b, i, j in _entries(canceled, row.shape[2]):
        d = distances[b, i, j]
        ratio = torch.where(d == 0, 0, grad_distances[b, i, j] / d)  # equal tokens have gradient 0
        terms = ratio.unsqueeze(1) * (row[b, i].to(d.dtype) - column[b, j].to(d.dtype))
        grad_row += _sums_by_token(terms, b * grad_row.shape[1] + i, grad_row)
        grad_column -= _sums_by_token(terms, b * grad_column.shape[1] + j, grad_column)


def squared_norms(x: Tensor) -> Tensor:
    """Return squared norms (..., N) of tokens (..., N, C)."""
    return torch.linalg.vector_norm(x, dim=-1).square_()


def _entries(canceled: Tensor, channels: int) -> Iterator[tuple[Tensor, ...]]:
    """Yield indices (sample, row, column) of the canceled entries, in parts whose tokens fit the cache."""
    for indices in torch.split(canceled.nonzero(), max(1, _GATHERED_ELEMENTS // channels)):
        yield indices.unbind(1)


def _sums_by_token(terms: Tensor, tokens: Tensor, like: Tensor) -> Tensor:
    """Return sums of the terms (entries, C) by token, shaped like (B, N, C), added in the same order in every run."""
    total = like.new_zeros(like.shape[0] * like.shape[1], like.shape[2])
    if total.device.type == "cpu":
        total.index_add_(0, tokens, terms)  # in order; index_put_ adds from several threads at once
    else:
        total.index_put_((tokens,), terms, accumulate=True)  # sorts first; index_add_ adds in any order
    return total.view_as(like)


def _weighted_differences(weights: Tensor, x: Tensor, y: Tensor, out: Tensor) -> None:
    """Write Σⱼ weightsᵢⱼ (xᵢ - yⱼ), (b, n, C), to `out`."""
    torch.mul(x, weights.sum(2).unsqueeze(2), out=out)
    torch.baddbmm(out, weights, y, alpha=-1, out=out)


def _empty_grid(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    (B, N), M = rows[0].shape[:2], columns[0].shape[1]
    precise = torch.promote_types(rows[0].dtype, torch.float32)
    distances = rows[0].new_empty(len(rows), len(columns), B, N, M, dtype=precise)
    return distances, distances.new_empty(B), distances.new_empty((), dtype=torch.bool)


def _empty_gradients(rows: Sequence[Tensor], columns: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    (B, N, C), M = rows[0].shape, columns[0].shape[1]
    return (
        rows[0].new_empty(B, len(rows) * N, C, dtype=dtype),
        rows[0].new_empty(B, len(columns) * M, C, dtype=dtype),
    )


def _centered_parts(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield a few samples at a time: their slice of the batch, their stacked and centered row and column tokens.

    The same memory is reused from one part to the next.
    """
    B, C = rows[0].shape[0], rows[0].shape[2]
    n, m = _tokens(rows), _tokens(columns)
    samples = min(B, max(1, _STACKED_ELEMENTS // ((n + m) * C))) if rows[0].device.type == "cpu" else B
    centers = columns[0][:, ::CENTER_STRIDE].mean(
        1, keepdim=True, dtype=torch.promote_types(rows[0].dtype, torch.float32)
    )
    x, y = (centers.new_empty(samples, length, C) for length in (n, m))
    x_places, y_places = x.chunk(len(rows), 1), y.chunk(len(columns), 1)
    for start in range(0, B, samples):
        part = slice(start, min(start + samples, B))
        size = part.stop - part.start
        for image, place in zip((*rows, *columns), (*x_places, *y_places), strict=True):
            torch.sub(image[part], centers[part], out=place[:size])
        yield part, x[:size], y[:size]


def _tokens(images: Sequence[Tensor]) -> int:
    return sum(image.shape[1] for image in images)


def _as_grid(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """Return (B, R*N, K*M) as (R, K, B, N, M), a view."""
    B, n, m = matrix.shape
    return matrix.view(B, rows, n // rows, columns, m // columns).permute(1, 3, 0, 2, 4)


def _canceled(
    distances: Tensor, rows: Sequence[Tensor], columns: Sequence[Tensor]
) -> Iterator[tuple[int, int, Tensor]]:
    """Yield the matrices of the grid in which the product form canceled, and where (B, N, M)."""
    x_norms, y_norms = [], []
    for _, x, y in _centered_parts(rows, columns):
        x_norms.append(squared_norms(x))
        y_norms.append(squared_norms(y))
    row_norms, column_norms = torch.cat(x_norms).chunk(len(rows), 1), torch.cat(y_norms).chunk(len(columns), 1)
    for r, row in enumerate(row_norms):
        for k, column in enumerate(column_norms):
            canceled = ~(distances[r, k].square() > CANCELLATION * (row.unsqueeze(2) + column.unsqueeze(1)))
            if canceled.any():
                yield r, k, canceled
