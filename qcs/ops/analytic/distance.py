"""Distances of every row image to every column image from one product per sample, exact where a product is not.

|x - y|² = |x|² + |y|² - 2 x·y turns distances into a matrix product, several times faster than forming differences,
but it cancels when tokens are close relative to their norms. Subtracting one vector from all tokens changes no distance
and removes most of the cancellation; the entries that still cancel are computed from differences.

A grid of R row images and K column images is one matrix: its rows are the tokens of all row images, image after image,
its columns those of all column images. Centered tokens are formed again for the backward pass, a few samples at a time
in the cache: keeping them would double the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qcs.ops._autograd import batch_by_loop, differentiable_once, outside_autocast
from qcs.ops._numerics import CANCELLATION

CENTER_STRIDE = 8  # every eighth token is enough to estimate the mean
_STACKED_ELEMENTS = 900_000  # centered tokens of this many elements stay in the cache between their uses
_GATHERED_ELEMENTS = 1 << 20
_DENSE_FRACTION = 0.25  # above this fraction of canceled entries, forming all differences is cheaper than gathering


class Distances(NamedTuple):
    """Distances of a grid, and what the backward pass needs to differentiate them."""

    distances: Tensor  # (B, R*N, K*M)
    x_norms: Tensor  # squared norms of the centered row tokens (B, R*N)
    y_norms: Tensor  # and of the centered column tokens (B, K*M)
    any_canceled: Tensor  # whether some distances were computed from differences, 0-d bool

    def bound(self) -> Tensor:
        """Return a bound (B) on |x|² + |y|², of which errors of the product form are a few roundings."""
        return self.x_norms.amax(1) + self.y_norms.amax(1)


@torch.library.custom_op("qcs::distance_grid", mutates_args=())
def distance_grid(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the `Distances` of R row images (B, N, C) to K column images (B, M, C), in float32 or better."""
    grid = Distances(*_empty_grid(rows, columns))
    for part, x, y in _centered_parts(rows, columns):
        x_norms = torch.square(torch.linalg.vector_norm(x, dim=-1), out=grid.x_norms[part])
        y_norms = torch.square(torch.linalg.vector_norm(y, dim=-1), out=grid.y_norms[part])
        squared = torch.add(x_norms.unsqueeze(2), y_norms.unsqueeze(1), out=grid.distances[part])
        torch.baddbmm(squared, x, y.mT, alpha=-2, out=squared).sqrt_()
    # May report cancellation where there is none, never the reverse; NaN, from a square below 0, is cancellation.
    safe = grid.distances.amin((1, 2)).square() > CANCELLATION * grid.bound()
    torch.logical_not(safe.all(), out=grid.any_canceled)
    if grid.any_canceled:
        replace_by_differences(grid.distances, canceled_entries(grid), rows, columns)
    return grid


@torch.library.custom_op("qcs::distance_grid_backward", mutates_args=())
def distance_grid_backward(
    grad_distances: Tensor,
    distances: Tensor,
    x_norms: Tensor,
    y_norms: Tensor,
    any_canceled: Tensor,
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
) -> tuple[Tensor, Tensor]:
    """Return gradients of the row tokens (B, R*N, C) and of the column tokens (B, K*M, C), image after image.

    With W = grad_distances / distances, 0 where tokens are equal, the gradient of row i is Σⱼ Wᵢⱼ (xᵢ - yⱼ). Both may
    have the opposite sign: W is the same.
    """
    w = grad_distances / distances
    canceled = None
    if any_canceled:
        canceled = canceled_entries(Distances(distances, x_norms, y_norms, any_canceled))
        w.masked_fill_(canceled, 0)
    grad_rows, grad_columns = _empty_gradients(rows, columns, distances.dtype)
    for part, x, y in _centered_parts(rows, columns):
        _weighted_differences(w[part], x, y, out=grad_rows[part])
        _weighted_differences(w[part].mT, y, x, out=grad_columns[part])
    if canceled is not None:
        add_gradients_by_differences(grad_rows, grad_columns, canceled, grad_distances, distances, rows, columns)
    return grad_rows.to(rows[0].dtype), grad_columns.to(rows[0].dtype)


@distance_grid.register_fake
def _(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _empty_grid(rows, columns)


@distance_grid_backward.register_fake
def _(
    grad_distances: Tensor,
    distances: Tensor,
    x_norms: Tensor,
    y_norms: Tensor,
    any_canceled: Tensor,
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
) -> tuple[Tensor, Tensor]:
    return _empty_gradients(rows, columns, rows[0].dtype)


distance_grid.register_vmap(batch_by_loop(distance_grid))
distance_grid_backward.register_vmap(batch_by_loop(distance_grid_backward))


class PairDistances(torch.autograd.Function):
    """Distances (B, N, M) of the tokens q (B, N, C) to k (B, M, C); the other outputs are state for the backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(q: Tensor, k: Tensor) -> tuple[Tensor, ...]:
        with outside_autocast(q):
            grid: tuple[Tensor, ...] = distance_grid([q], [k])
        return grid

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output, *inputs)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, saved: Sequence[Tensor], grad_distances: Tensor | None, *_: None) -> Any:
        if grad_distances is None:
            return None, None
        *grid, q, k = saved
        return distance_grid_backward(grad_distances, *grid, [q], [k])


def replace_by_differences(
    distances: Tensor, canceled: Tensor, rows: Sequence[Tensor], columns: Sequence[Tensor]
) -> None:
    """Recompute the canceled distances (B, R*N, K*M) between row images (B, N, C) and column images, in place.

    Exact for all tokens, at several times the cost of a product.
    """
    if canceled.sum() > _DENSE_FRACTION * canceled.numel():
        x, y = (torch.cat(list(images), 1).to(distances.dtype) for images in (rows, columns))
        exact = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
        distances.copy_(torch.where(canceled, exact, distances))
        return
    for b, i, j in _entries(canceled, rows[0].shape[2]):
        difference = _tokens(rows, b, i, distances.dtype).sub_(_tokens(columns, b, j, distances.dtype))
        distances[b, i, j] = torch.linalg.vector_norm(difference, dim=-1)


def add_gradients_by_differences(
    grad_rows: Tensor,
    grad_columns: Tensor,
    canceled: Tensor,
    grad_distances: Tensor,
    distances: Tensor,
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
) -> None:
    """Add the terms of canceled entries, grad_distance / distance times difference, to contiguous gradients."""
    if canceled.sum() > _DENSE_FRACTION * canceled.numel():
        g = grad_distances.where(canceled, 0)
        x, y = (torch.cat(list(images), 1).to(distances.dtype) for images in (rows, columns))
        grad_rows += torch.ops.aten._cdist_backward(g, x, y, 2.0, distances)
        grad_columns += torch.ops.aten._cdist_backward(g.mT.contiguous(), y, x, 2.0, distances.mT.contiguous())
        return
    for b, i, j in _entries(canceled, rows[0].shape[2]):
        d = distances[b, i, j]
        ratio = torch.where(d == 0, 0, grad_distances[b, i, j] / d)  # equal tokens have gradient 0
        terms = _tokens(rows, b, i, d.dtype).sub_(_tokens(columns, b, j, d.dtype)).mul_(ratio.unsqueeze(1))
        _add_by_token(grad_rows, b, i, terms)
        _add_by_token(grad_columns, b, j, terms.neg_())


def squared_norms(x: Tensor) -> Tensor:
    """Return squared norms (..., N) of tokens (..., N, C)."""
    return torch.linalg.vector_norm(x, dim=-1).square_()


def canceled_entries(grid: Distances) -> Tensor:
    """Return where the product form canceled (B, R*N, K*M)."""
    bounds = grid.x_norms.unsqueeze(2) + grid.y_norms.unsqueeze(1)
    return ~(grid.distances.square() > CANCELLATION * bounds)


def _entries(canceled: Tensor, channels: int) -> Iterator[tuple[Tensor, ...]]:
    """Yield indices (sample, row, column) of the canceled entries, in parts whose tokens fit the cache."""
    for indices in torch.split(canceled.nonzero(), max(1, _GATHERED_ELEMENTS // channels)):
        yield indices.unbind(1)


def _tokens(images: Sequence[Tensor], sample: Tensor, index: Tensor, dtype: torch.dtype) -> Tensor:
    """Return tokens (entries, C) by their index in all images, one after another."""
    length = images[0].shape[1]
    found = images[0][sample, index % length]
    for number, image in enumerate(images[1:], 1):
        found = torch.where((index // length == number).unsqueeze(1), image[sample, index % length], found)
    return found.to(dtype)


def _add_by_token(gradient: Tensor, sample: Tensor, index: Tensor, terms: Tensor) -> None:
    """Add the terms (entries, C) to their tokens of a gradient (B, N, C), in the same order in every run."""
    flat, token = gradient.view(-1, gradient.shape[2]), sample * gradient.shape[1] + index
    if flat.device.type == "cpu":
        flat.index_add_(0, token, terms)  # in order; index_put_ adds from several threads at once
    else:
        flat.index_put_((token,), terms, accumulate=True)  # sorts first; index_add_ adds in any order


def _weighted_differences(weights: Tensor, x: Tensor, y: Tensor, out: Tensor) -> None:
    """Write Σⱼ weightsᵢⱼ (xᵢ - yⱼ), (b, n, C), to `out`."""
    torch.mul(x, weights.sum(2).unsqueeze(2), out=out)
    torch.baddbmm(out, weights, y, alpha=-1, out=out)


def _empty_grid(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    B, n, m = len(rows[0]), _length(rows), _length(columns)
    distances = rows[0].new_empty(B, n, m, dtype=torch.promote_types(rows[0].dtype, torch.float32))
    return distances, distances.new_empty(B, n), distances.new_empty(B, m), distances.new_empty((), dtype=torch.bool)


def _empty_gradients(rows: Sequence[Tensor], columns: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    B, _, C = rows[0].shape
    return (
        rows[0].new_empty(B, _length(rows), C, dtype=dtype),
        rows[0].new_empty(B, _length(columns), C, dtype=dtype),
    )


def _centered_parts(rows: Sequence[Tensor], columns: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield a few samples at a time: their slice of the batch, their stacked and centered row and column tokens.

    The same memory is reused from one part to the next.
    """
    B, _, C = rows[0].shape
    n, m = _length(rows), _length(columns)
    samples = min(B, max(1, _STACKED_ELEMENTS // ((n + m) * C))) if rows[0].device.type == "cpu" else B
    precise = torch.promote_types(rows[0].dtype, torch.float32)
    centers = columns[0][:, ::CENTER_STRIDE].mean(1, keepdim=True, dtype=precise)
    x, y = (centers.new_empty(samples, length, C) for length in (n, m))
    x_places, y_places = x.chunk(len(rows), 1), y.chunk(len(columns), 1)
    for start in range(0, B, samples):
        part = slice(start, min(start + samples, B))
        size = part.stop - part.start
        for image, place in zip((*rows, *columns), (*x_places, *y_places), strict=True):
            torch.sub(image[part], centers[part], out=place[:size])
        yield part, x[:size], y[:size]


def _length(images: Sequence[Tensor]) -> int:
    return sum(image.shape[1] for image in images)
