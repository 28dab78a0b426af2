"""The operators in closed form: one matrix product forward, two backward, and few element-wise passes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qcs.ops import reference
from qcs.ops.analytic.attention import GridAttention, combined_weights, matrix_weights, padded
from qcs.ops.analytic.distance import PairDistances
from qcs.ops.analytic.tiled import TiledImportance
from qcs.ops.reference import bilinear_pooling as bilinear_pooling  # already one product

DENSE_ELEMENTS = 1 << 22  # more distances than this are processed in strips that fit the cache


def euclidean_distance(q: Tensor, k: Tensor) -> Tensor:
    """Return Euclidean distances (B, Nq, Nk), in float32 precision or better."""
    distances: Tensor = PairDistances.apply(q, k)[0]
    return distances


def cross_similarity(qk_a: Tensor, qk_p: Tensor, scope: str) -> tuple[Tensor, Tensor]:
    """Return attention weights (B, N) of anchor and positive from one similarity matrix with rows p and columns a."""
    w_p, w_a = _pair_attention(qk_p, qk_a, "s", scope)
    return w_a, w_p


def quadruplet_cross_similarity(
    qk_a: Tensor, qk_p: Tensor, qk_n: Tensor, qk_n2: Tensor, gain: Tensor | float, matrices: str, scope: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return attention weights (B, N) of the four images from two similarity and two dissimilarity matrices.

    Rows p and n and columns a and n2 form a grid of four matrices: similarity on the diagonal, dissimilarity off it.
    """
    if matrices == "s":
        (w_p, w_a), (w_n, w_n2) = _pair_attention(qk_p, qk_a, "s", scope), _pair_attention(qk_n, qk_n2, "s", scope)
    elif matrices == "d":
        (w_n, w_a), (w_p, w_n2) = _pair_attention(qk_n, qk_a, "d", scope), _pair_attention(qk_p, qk_n2, "d", scope)
    elif qk_p.shape == qk_n.shape and qk_a.shape == qk_n2.shape:
        (w_p, w_n), (w_a, w_n2) = _grid_attention([qk_p, qk_n], [qk_a, qk_n2], "sd", scope, gain)
    else:  # matrices of four sizes do not form a grid
        return reference.quadruplet_cross_similarity(qk_a, qk_p, qk_n, qk_n2, gain, matrices, scope)
    return w_a, w_p, w_n, w_n2


def _pair_attention(row: Tensor, column: Tensor, kind: str, scope: str) -> tuple[Tensor, Tensor]:
    """Return attention weights (B, N) of the row image and (B, M) of the column image."""
    (row_weights,), (column_weights,) = _grid_attention([row], [column], kind, scope)
    return row_weights, column_weights


def _grid_attention(
    rows: Sequence[Tensor], columns: Sequence[Tensor], kinds: str, scope: str, gain: Tensor | float = 1.0
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return attention weights (B, N) of each row image and (B, M) of each column image.

    Args:
        rows: R images (B, N, C).
        columns: As many images (B, M, C).
        kinds: One matrix of similarity `"s"` or dissimilarity `"d"`, or two by two `"sd"`: similarity on the diagonal,
            dissimilarity off it.
        scope: Where the extremal distances are taken, `"batch"` or `"sample"`.
        gain: Weight of the dissimilarity relative to the similarity; for `"sd"` only.
    """
    dtype = rows[0].dtype
    gain = torch.as_tensor(gain, dtype=torch.promote_types(dtype, torch.float32), device=rows[0].device)
    images = padded([image for pair in zip(rows, columns, strict=True) for image in pair])
    elements = len(rows) * len(columns) * rows[0].shape[0] * rows[0].shape[1] * columns[0].shape[1]
    if elements > DENSE_ELEMENTS:
        row_importance, column_importance, *_ = TiledImportance.apply(kinds, scope, *images)
        importance = row_importance.permute(2, 0, 3, 1), column_importance.permute(2, 0, 1, 3)
        row_weights, column_weights = combined_weights(*importance, matrix_weights(kinds, gain))
    else:
        row_weights, column_weights, *_ = GridAttention.apply(gain, kinds, scope, *images)
    return row_weights.to(dtype).unbind(1), column_weights.to(dtype).unbind(1)
