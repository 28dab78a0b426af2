"""Distances from differences, and their gradients: exact for all tokens, at several times the cost of a product.

For the entries that the product form loses, those of tokens close to one another beside their norms.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_DENSE_SHARE = 0.25  # above this share of lost entries, forming all differences is cheaper than gathering some
_ELEMENTS_AT_ONCE = 1 << 20


def replace_by_differences(distances: Tensor, lost: Tensor, row: Tensor, column: Tensor) -> None:
    """Computes the lost ones of the distances (B, N, M) between row (B, N, C) and column (B, M, C) again, in place."""
    if lost.sum() > _DENSE_SHARE * lost.numel():
        x, y = row.to(distances.dtype), column.to(distances.dtype)
        distances.copy_(torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist"))
        return
    for b, i, j in _entries(lost, row.shape[2]):
        x, y = row[b, i].to(distances.dtype), column[b, j].to(distances.dtype)
        distances[b, i, j] = torch.linalg.vector_norm(x - y, dim=-1)


def pull_by_differences(
    of_row: Tensor, of_column: Tensor, lost: Tensor, upstream: Tensor, distances: Tensor, row: Tensor, column: Tensor
) -> None:
    """Adds the pulls of the lost entries, upstream / distance times difference, to the gradients of row and column."""
    if lost.sum() > _DENSE_SHARE * lost.numel():
        g = upstream.where(lost, 0)
        x, y = row.to(distances.dtype).contiguous(), column.to(distances.dtype).contiguous()
        of_row += torch.ops.aten._cdist_backward(g, x, y, 2.0, distances)
        of_column += torch.ops.aten._cdist_backward(g.mT.contiguous(), y, x, 2.0, distances.mT.contiguous())
        return
    for b, i, j in _entries(lost, row.shape[2]):
        d = distances[b, i, j]
        weight = torch.where(d == 0, 0, upstream[b, i, j] / d)  # equal tokens do not pull
        pulls = weight.unsqueeze(1) * (row[b, i].to(d.dtype) - column[b, j].to(d.dtype))
        of_row += _summed(pulls, b * of_row.shape[1] + i, of_row)
        of_column -= _summed(pulls, b * of_column.shape[1] + j, of_column)


def _entries(lost: Tensor, channels: int) -> Iterator[tuple[Tensor, ...]]:
    """Indices (sample, row, column) of the lost entries, so many at a time that their tokens fit the cache."""
    for indices in torch.split(lost.nonzero(), max(1, _ELEMENTS_AT_ONCE // channels)):
        yield indices.unbind(1)


def _summed(pulls: Tensor, tokens: Tensor, like: Tensor) -> Tensor:
    """Sums of the pulls (entries, C) by token, shaped like (B, N, C), in the same order in every run."""
    total = like.new_zeros(like.shape[0] * like.shape[1], like.shape[2])
    if total.device.type == "cpu":
        total.index_add_(0, tokens, pulls)  # in order; index_put_ adds from several threads at once
    else:
        total.index_put_((tokens,), pulls, accumulate=True)  # sorts first; index_add_ adds in any order
    return total.view_as(like)
