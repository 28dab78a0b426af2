"""What a matrix aligned to its extremum is made of: A = ±D - min(±D), - for similarity and + for dissimilarity."""

from __future__ import annotations

import torch
from torch import Tensor

from qcs.ops.numerics import CANCELLATION, NORM_FLOOR, TIE_ULPS


def signs(kinds: str, like: Tensor) -> Tensor:
    """-1 for similarity, +1 for dissimilarity: (1, 1) for `"s"` and `"d"`, (2, 2) for `"sd"`, "s" on the diagonal."""
    if kinds == "sd":
        return 1 - 2 * torch.eye(2, dtype=like.dtype, device=like.device)
    return torch.full((1, 1), -1.0 if kinds == "s" else 1.0, dtype=like.dtype, device=like.device)


def per_norm(squares: Tensor) -> Tensor:
    """1 / norm from the sum of squares, the norm held above its floor; `squares` is overwritten."""
    return squares.clamp_min_(NORM_FLOOR**2).rsqrt_()


def cubed(per_norm: Tensor) -> Tensor:
    """1 / norm³, and 0 where the norm is the constant floor."""
    return torch.where(per_norm < 0.99 / NORM_FLOOR, per_norm**3, 0)


def ties(aligned: Tensor, least: Tensor, bound: Tensor) -> Tensor:
    """1 for the entries at the extremum but for rounding, 0 for those away from it.

    The rounding of a distance D is that of D² in the product form, a few units of `bound`, divided by D; at least a few
    units of D and no more than cancellation is let go. The step from 1 to 0 is a ramp a quarter as wide.
    """
    finfo, extremum = torch.finfo(least.dtype), least.abs()
    rounding = (bound / extremum).minimum(extremum / CANCELLATION).maximum(extremum)
    tolerance = (TIE_ULPS * finfo.eps * rounding).clamp_min(finfo.tiny)
    return aligned.div(tolerance).mul_(-4).add_(5).clamp_(0, 1)
