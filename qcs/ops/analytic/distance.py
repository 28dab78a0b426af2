"""Distances of every row image to every column image from one product per sample, exact where a product is not.

|x - y|² = |x|² + |y|² - 2 x·y turns distances into a matrix product, several times faster than forming differences,
but it cancels when tokens are close beside their norms. Taking one vector from all tokens changes no distance and
removes most of that; the entries that still cancel are computed from differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from qcs.ops.analytic.differences import pull_by_differences, replace_by_differences
from qcs.ops.numerics import CANCELLATION
from qcs.ops.transforms import batch_by_loop, differentiable_once, outside_autocast

_ELEMENTS_AT_ONCE = 900_000  # stacked tokens of so many elements stay in the cache between their uses
CENTRE_STRIDE = 8  # every eighth token suffices to find the middle


@torch.library.custom_op("qcs::distance_grid", mutates_args=())
def distance_grid(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Distances (R, K, B, N, M) of R row images (B, N, C) to K column images (B, M, C), never below float32.

    Also, per sample, a bound (B) on the sums of two tokens' squared norms, of which the product form's errors are a few
    roundings, and whether it cancelled anywhere (0-d bool), so that some distances were computed from differences.
    """
    distances, bound, cancelled = _empty_grid(rows, columns)
    row_norms, column_norms = (distances.new_empty(distances.shape[2], _tokens(images)) for images in (rows, columns))
    for part, x, y in _centred_parts(rows, columns):
        x_norms = torch.square(torch.linalg.vector_norm(x, dim=-1), out=row_norms[part])
        y_norms = torch.square(torch.linalg.vector_norm(y, dim=-1), out=column_norms[part])
        squared = torch.baddbmm(x_norms.unsqueeze(2) + y_norms.unsqueeze(1), x, y.mT, alpha=-2)
        torch.sqrt(_as_grid(squared, len(rows), len(columns)), out=distances[:, :, part])
    torch.add(row_norms.amax(1), column_norms.amax(1), out=bound)
    # Sees cancellation where there may be none, never the other way round; NaN, from a square below 0, is cancellation.
    cancelled.copy_(~(distances.amin().square() > CANCELLATION * bound.amax()))
    if cancelled:
        for r, k, lost in _lost(distances, rows, columns):
            replace_by_differences(distances[r, k], lost, rows[r], columns[k])
    return distances, bound, cancelled


@torch.library.custom_op("qcs::distance_grid_backward", mutates_args=())
def distance_grid_backward(
    upstream: Tensor, distances: Tensor, cancelled: Tensor, rows: Sequence[Tensor], columns: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Gradients of the row tokens (B, R*N, C) and of the column tokens (B, K*M, C), the images one after another.

    With W = upstream / distance, 0 where tokens are equal, the gradient of row i is the sum over j of W_ij (x_i - y_j).
    """
    weights = upstream / distances
    all_lost = list(_lost(distances, rows, columns)) if cancelled else []
    for r, k, lost in all_lost:
        weights[r, k].masked_fill_(lost, 0)
    of_rows, of_columns = _empty_gradients(rows, columns, distances.dtype)
    for part, x, y in _centred_parts(rows, columns):
        w = weights[:, :, part].permute(2, 0, 3, 1, 4).reshape(len(x), x.shape[1], y.shape[1])
        _pull(w, x, y, out=of_rows[part])
        _pull(w.mT, y, x, out=of_columns[part])
    for r, k, lost in all_lost:
        of_row = of_rows.chunk(len(rows), 1)[r]
        of_column = of_columns.chunk(len(columns), 1)[k]
        pull_by_differences(of_row, of_column, lost, upstream[r, k], distances[r, k], rows[r], columns[k])
    return of_rows.to(rows[0].dtype), of_columns.to(rows[0].dtype)


@distance_grid.register_fake
def _(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return _empty_grid(rows, columns)


@distance_grid_backward.register_fake
def _(
    upstream: Tensor, distances: Tensor, cancelled: Tensor, rows: Sequence[Tensor], columns: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    return _empty_gradients(rows, columns, rows[0].dtype)


distance_grid.register_vmap(batch_by_loop(distance_grid))
distance_grid_backward.register_vmap(batch_by_loop(distance_grid_backward))


class PairDistances(torch.autograd.Function):
    """Distances (B, N, M) of the tokens q (B, N, C) to k (B, M, C), and whether any cancelled."""

    generate_vmap_rule = True

    @staticmethod
    def forward(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        with outside_autocast(q):
            distances, _, cancelled = distance_grid([q], [k])
        return distances.view(distances.shape[2:]), cancelled

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, *output)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, saved: Sequence[Tensor], upstream: Tensor | None, _: None) -> Any:
        if upstream is None:
            return None, None
        q, k, distances, cancelled = saved
        grids = (t.unsqueeze(0).unsqueeze(0) for t in (upstream, distances))
        return distance_grid_backward(*grids, cancelled, [q], [k])


def _pull(weights: Tensor, x: Tensor, y: Tensor, out: Tensor) -> None:
    """Weighted sums over j of x_i - y_j, (b, n, C)."""
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


def _centred_parts(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """A few samples at a time: their slice of the batch, their stacked and centred row and column tokens.

    The tensors are used again from one part to the next.
    """
    B, C = rows[0].shape[0], rows[0].shape[2]
    n, m = _tokens(rows), _tokens(columns)
    samples = min(B, max(1, _ELEMENTS_AT_ONCE // ((n + m) * C))) if rows[0].device.type == "cpu" else B
    centres = columns[0][:, ::CENTRE_STRIDE].mean(
        1, keepdim=True, dtype=torch.promote_types(rows[0].dtype, torch.float32)
    )
    x, y = (centres.new_empty(samples, length, C) for length in (n, m))
    x_places, y_places = x.chunk(len(rows), 1), y.chunk(len(columns), 1)
    for start in range(0, B, samples):
        part = slice(start, min(start + samples, B))
        size = part.stop - part.start
        for image, place in zip((*rows, *columns), (*x_places, *y_places), strict=True):
            torch.sub(image[part], centres[part], out=place[:size])
        yield part, x[:size], y[:size]


def _tokens(images: Sequence[Tensor]) -> int:
    return sum(image.shape[1] for image in images)


def _as_grid(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """(B, R*N, K*M) to (R, K, B, N, M), a view."""
    B, n, m = matrix.shape
    return matrix.view(B, rows, n // rows, columns, m // columns).permute(1, 3, 0, 2, 4)


def squared_norms(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1).square_()


def _lost(distances: Tensor, rows: Sequence[Tensor], columns: Sequence[Tensor]) -> Iterator[tuple[int, int, Tensor]]:
    """The matrices of the grid in which the product form cancelled, and where (B, N, M)."""
    row_norms, column_norms = [], []
    for _, x, y in _centred_parts(rows, columns):
        row_norms.append(squared_norms(x))
        column_norms.append(squared_norms(y))
    of_rows, of_columns = torch.cat(row_norms).chunk(len(rows), 1), torch.cat(column_norms).chunk(len(columns), 1)
    for r, x in enumerate(of_rows):
        for k, y in enumerate(of_columns):
            lost = ~(distances[r, k].square() > CANCELLATION * (x.unsqueeze(2) + y.unsqueeze(1)))
            if lost.any():
                yield r, k, lost
