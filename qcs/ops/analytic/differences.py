"""Distances and gradients of the entries for which products cancel, from differences of tokens.

Exact for all tokens, at several times the cost of a product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from qcs.ops.precision import is_capturing

_GATHERED_ELEMENTS = 1 << 20
_DENSE_FRACTION = 0.25  # above this fraction of canceled entries, forming all differences is cheaper than gathering


def replace(distances: Tensor, canceled: Tensor, rows: Sequence[Tensor], columns: Sequence[Tensor]) -> None:
    """Recompute the canceled distances (B, R*N, K*M) between row images (B, N, C) and column images, in place."""
    if _are_most(canceled):
        x, y = (torch.cat(list(images), 1).to(distances.dtype) for images in (rows, columns))
        exact = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
        distances.copy_(torch.where(canceled, exact, distances))
        return
    for b, i, j in _entries(canceled, rows[0].shape[2]):
        difference = _tokens(rows, b, i, distances.dtype).sub_(_tokens(columns, b, j, distances.dtype))
        distances[b, i, j] = torch.linalg.vector_norm(difference, dim=-1)


def add_gradients(
    grad_rows: Tensor,
    grad_columns: Tensor,
    canceled: Tensor,
    grad_distances: Tensor,
    distances: Tensor,
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
) -> None:
    """Add the terms of canceled entries, grad_distance / distance times difference, to gradients of the tokens.

    Distances and their gradients may both have the opposite sign.
    """
    if _are_most(canceled):
        g = (grad_distances * distances.sign()).where(canceled, 0)
        d = distances.abs()
        x, y = (torch.cat(list(images), 1).to(distances.dtype) for images in (rows, columns))
        grad_rows += torch.ops.aten._cdist_backward(g, x, y, 2.0, d)
        grad_columns += torch.ops.aten._cdist_backward(g.mT.contiguous(), y, x, 2.0, d.mT.contiguous())
        return
    for b, i, j in _entries(canceled, rows[0].shape[2]):
        d = distances[b, i, j]
        ratio = torch.where(d == 0, 0, grad_distances[b, i, j] / d)  # equal tokens have gradient 0
        terms = _tokens(rows, b, i, d.dtype).sub_(_tokens(columns, b, j, d.dtype)).mul_(ratio.unsqueeze(1))
        _add_by_token(grad_rows, b, i, terms)
        _add_by_token(grad_columns, b, j, terms.neg_())


def _are_most(canceled: Tensor) -> bool:
    """Return whether to form all differences: for many entries, and where the host must not ask how many there are."""
    return is_capturing(canceled.device) or bool(canceled.sum() > _DENSE_FRACTION * canceled.numel())


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
    """Add the terms (entries, C) to their tokens of a gradient (b, n, C), in the same order in every run."""
    if gradient.device.type == "cpu":  # in order; index_put_ adds from several threads at once
        gradient.view(-1, gradient.shape[2]).index_add_(0, sample * gradient.shape[1] + index, terms)
    else:
        gradient.index_put_((sample, index), terms, accumulate=True)  # sorts first; index_add_ adds in any order
