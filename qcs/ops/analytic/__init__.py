"""The operators in closed form: one product of matrices forward, two backward, and little beside them."""

from __future__ import annotations

from torch import Tensor

from qcs.ops import reference
from qcs.ops.analytic.attention import grid_attention
from qcs.ops.analytic.distance import PairDistances
from qcs.ops.reference import bilinear_pooling as bilinear_pooling  # already one product


def euclidean_distance(q: Tensor, k: Tensor) -> Tensor:
    """Euclidean distances (B, Nq, Nk), never below float32 precision."""
    distances: Tensor = PairDistances.apply(q, k)[0]
    return distances


def cross_similarity(qk_a: Tensor, qk_p: Tensor, scope: str) -> tuple[Tensor, Tensor]:
    """Attention weights (B, N) of anchor and positive from one similarity matrix, rows p and columns a."""
    w_p, w_a = _pair(qk_p, qk_a, "s", scope)
    return w_a, w_p


def quadruplet_cross_similarity(
    qk_a: Tensor, qk_p: Tensor, qk_n: Tensor, qk_n2: Tensor, gain: Tensor | float, matrices: str, scope: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Attention weights (B, N) of the four images from two similarity and two dissimilarity matrices.

    Rows p and n meet columns a and n2 in four matrices at once: similarity on the diagonal, dissimilarity off it.
    """
    if matrices == "s":
        (w_p, w_a), (w_n, w_n2) = _pair(qk_p, qk_a, "s", scope), _pair(qk_n, qk_n2, "s", scope)
    elif matrices == "d":
        (w_n, w_a), (w_p, w_n2) = _pair(qk_n, qk_a, "d", scope), _pair(qk_p, qk_n2, "d", scope)
    elif qk_p.shape == qk_n.shape and qk_a.shape == qk_n2.shape:
        (w_p, w_n), (w_a, w_n2) = grid_attention([qk_p, qk_n], [qk_a, qk_n2], "sd", scope, gain)
    else:  # matrices of four sizes are no grid
        return reference.quadruplet_cross_similarity(qk_a, qk_p, qk_n, qk_n2, gain, matrices, scope)
    return w_a, w_p, w_n, w_n2


def _pair(row: Tensor, column: Tensor, kind: str, scope: str) -> tuple[Tensor, Tensor]:
    """Attention weights (B, N) of the row image and (B, M) of the column image."""
    (of_row,), (of_column,) = grid_attention([row], [column], kind, scope)
    return of_row, of_column
