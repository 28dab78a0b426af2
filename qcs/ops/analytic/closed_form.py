"""The closed form of importance and its gradient as plain tensor functions, which strips and compilers share.

A similarity matrix hi - D and a dissimilarity matrix D - lo both have the form A = ±D - min(±D), with - for similarity
and + for dissimilarity. The importance of a column is the sum of its entries in A with rows of unit norm, the
importance of a row is the sum of its entries in A with columns of unit norm. Entries of padding are 0 in A.

Shapes: matrices (B, R, N, K, M), rows (B, R, N, K), columns (B, R, K, M), one number per matrix (B, R, K).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from qcs.ops import world
from qcs.ops._numerics import CANCELLATION, NORM_FLOOR, TIE_ULPS


class Padding(NamedTuple):
    """Which tokens of the rows (B, R, N) and columns (B, K, M) are padding; None for none of both."""

    rows: Tensor | None
    columns: Tensor | None

    def row_mask(self) -> Tensor | None:
        """Return the mask for vectors over rows (B, R, N, K)."""
        return None if self.rows is None else self.rows.unsqueeze(3)

    def column_mask(self) -> Tensor | None:
        """Return the mask for vectors over columns (B, R, K, M)."""
        return None if self.columns is None else self.columns.unsqueeze(1)

    def fill(self, matrices: Tensor, value: float) -> Tensor:
        """Return matrices (B, R, N, K, M) with the entries of padding replaced."""
        if self.rows is None or self.columns is None:
            return matrices
        return matrices.masked_fill(self.rows[..., None, None] | self.columns[:, None, None], value)

    def part(self, samples: slice, images: slice, tokens: slice) -> Padding:
        """Return the padding of a strip."""
        if self.rows is None or self.columns is None:
            return self
        return Padding(self.rows[samples, images, tokens], self.columns[samples])


class Extrema(NamedTuple):
    """Smallest entry of ±D in each matrix (B, R, K), and a bound (B) on |x|² + |y|²; B is 1 unless by sample."""

    least: Tensor
    bound: Tensor

    @classmethod
    def over(cls, scope: str, least: Tensor, bounds: Tensor) -> Extrema:
        """Return the extrema of a scope from those of each sample (B, R, K) and bounds (B)."""
        if scope == "sample":
            return cls(least, bounds)
        lowest, highest = least.amin(0, keepdim=True), bounds.amax(0, keepdim=True)
        if scope == "world":
            numbers = world.minimum(torch.cat([lowest.flatten(), -highest]))
            lowest, highest = numbers[:-1].view_as(lowest), -numbers[-1:]
        return cls(lowest, highest)

    def part(self, samples: slice, images: slice) -> Extrema:
        """Return those of a strip."""
        if len(self.least) == 1:
            return Extrema(self.least[:, images], self.bound)
        return Extrema(self.least[samples, images], self.bound[samples])


def signs(kinds: str, like: Tensor) -> Tensor:
    """Return -1 for similarity, +1 for dissimilarity: (1, 1) for `"s"` and `"d"`, (2, 2) for `"sd"`."""
    if kinds == "sd":
        return 1 - 2 * torch.eye(2, dtype=like.dtype, device=like.device)
    return torch.full((1, 1), -1.0 if kinds == "s" else 1.0, dtype=like.dtype, device=like.device)


def combined_logits(row_importance: Tensor, column_importance: Tensor, gain: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return logits of rows (B, 2, N) and of columns (B, 2, M): importance in S plus gain times importance in D'."""
    same = torch.eye(2, dtype=torch.bool, device=row_importance.device)
    # Made on the device: a number copied to it could not be recorded in a CUDA graph.
    weights = torch.where(same, 1.0, gain.to(row_importance) if isinstance(gain, Tensor) else gain).to(row_importance)
    return (row_importance * weights.unsqueeze(1)).sum(3), (column_importance * weights.unsqueeze(2)).sum(1)


def aligned_matrices(signed: Tensor, extrema: Extrema, padding: Padding) -> Tensor:
    """Return A = ±D - min(±D), 0 for padding."""
    return padding.fill(signed - extrema.least[:, :, None, :, None], 0)


def importance_of(signed: Tensor, extrema: Extrema, padding: Padding) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return importance and reciprocal norms, each of rows (B, R, N, K) and of columns (B, R, K, M)."""
    aligned = aligned_matrices(signed, extrema, padding)
    squares = aligned.square()
    per_row = reciprocal_norms(squares.sum(4), padding.row_mask())
    per_column = reciprocal_norms(squares.sum(2), padding.column_mask())
    row_importance = torch.mul(aligned, per_column.unsqueeze(2)).sum(4)
    return row_importance, aligned.mul_(per_row.unsqueeze(4)).sum(2), per_row, per_column


def grad_signed_of(
    signed: Tensor,
    extrema: Extrema,
    padding: Padding,
    scope: str,
    per_row: Tensor,
    per_column: Tensor,
    grad_rows: Tensor,
    grad_columns: Tensor,
) -> Tensor:
    """Return the gradient of ±D (B, R, N, K, M) from those of the importance of rows and columns."""
    aligned = aligned_matrices(signed, extrema, padding)
    row_factors, column_factors = grad_rows.unsqueeze(4), grad_columns.unsqueeze(2)
    alpha = over_cubes((aligned * column_factors).sum(4), per_row)
    beta = over_cubes((aligned * row_factors).sum(2), per_column)
    # Outer products by multiplication: addcmul of broadcast factors is several times slower on a CPU.
    grad = (per_row.unsqueeze(4) * column_factors).add_(row_factors * per_column.unsqueeze(2))
    grad.addcmul_(aligned, alpha.unsqueeze(4) + beta.unsqueeze(2), value=-1)
    at_extremum = ties(aligned, extrema, padding)
    sums, tied = grad.sum((2, 4)), at_extremum.sum((2, 4))
    return grad.addcmul_(at_extremum, per_tie(scope, sums, tied)[:, :, None, :, None], value=-1)


def reciprocal_norms(squares: Tensor, mask: Tensor | None) -> Tensor:
    """Return 1 / norm from sums of squares, the norm at least `NORM_FLOOR`; 0 for padding; overwrites `squares`."""
    reciprocal = squares.clamp_min_(NORM_FLOOR**2).rsqrt_()
    return reciprocal if mask is None else reciprocal.masked_fill_(mask, 0)


def over_cubes(moments: Tensor, reciprocal: Tensor) -> Tensor:
    """Return moments / norm³, and 0 where the norm is the constant floor.

    The factors are applied one by one: in float32, 1 / norm³ vanishes for norms from 1e13 on, the result does not.
    """
    quotients = moments * reciprocal * reciprocal * reciprocal
    return torch.where(reciprocal < 0.99 / NORM_FLOOR, quotients, 0)


def ties(aligned: Tensor, extrema: Extrema, padding: Padding) -> Tensor:
    """Return 1 for the entries at the extremum up to rounding, 0 for the others.

    The rounding error of a distance D is that of D² in the product form, a few units of `bound`, divided by D; at least
    a few units of D, and at most what the cancellation threshold permits. Between 1 and 0 lies a ramp a quarter as wide
    as the tolerance.
    """
    finfo, extremum = torch.finfo(aligned.dtype), extrema.least.abs()
    rounding = (extrema.bound[:, None, None] / extremum).minimum(extremum / CANCELLATION).maximum(extremum)
    tolerance = (TIE_ULPS * finfo.eps * rounding).clamp_min(8 * finfo.tiny)
    ramp = (-4 / tolerance)[:, :, None, :, None]
    return padding.fill((aligned * ramp).add_(5).clamp_(0, 1), 0)


def per_tie(scope: str, sums: Tensor, tied: Tensor) -> Tensor:
    """Return what each entry at an extremum gives up (B, R, K): the sum of all entries' gradients, in equal parts.

    Args:
        scope: Where the extrema were taken.
        sums: Sums over the gradients of each matrix (B, R, K), with the extremum held fixed.
        tied: Number of entries at the extremum (B, R, K).
    """
    if scope == "sample":
        return sums / tied.clamp_min(1)
    totals = torch.stack([sums, tied]).sum(1, keepdim=True)
    if scope == "world":
        totals = world.total(totals)
    return totals[0] / totals[1].clamp_min(1)
