"""Define the cross-similarity operators in plain differentiable PyTorch.

Faster backends are tested against this file, and this file against golden numbers of the original code. Letters:
B batch, N tokens, C channels; `D[b, i, j]` is the Euclidean distance of row token i and column token j.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from qcs.ops._autograd import outside_autocast


def euclidean_distance(q: Tensor, k: Tensor) -> Tensor:
    """Return Euclidean distances (B, Nq, Nk), in float32 precision or better.

    Differences are formed before they are squared: the product form loses small distances between large tokens. Equal
    tokens have distance exactly 0, with gradient 0.
    """
    precise = torch.promote_types(q.dtype, torch.float32)
    return torch.cdist(q.to(precise), k.to(precise), compute_mode="donot_use_mm_for_euclid_dist")


def cross_similarity(qk_a: Tensor, qk_p: Tensor, scope: str) -> tuple[Tensor, Tensor]:
    """Return attention weights (B, N) of anchor and positive from one similarity matrix with rows p and columns a."""
    logits_a, logits_p = importance(similarity(euclidean_distance(qk_p, qk_a), scope))
    return attention(logits_a, qk_a), attention(logits_p, qk_p)


def quadruplet_cross_similarity(
    qk_a: Tensor, qk_p: Tensor, qk_n: Tensor, qk_n2: Tensor, gain: Tensor | float, matrices: str, scope: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return attention weights (B, N) of the four images from two similarity and two dissimilarity matrices."""
    images = (qk_a, qk_p, qk_n, qk_n2)
    if matrices == "s":
        logits = _similarity_importance(*images, scope)
    elif matrices == "d":
        logits = _dissimilarity_importance(*images, scope)
    else:
        pairs = zip(_similarity_importance(*images, scope), _dissimilarity_importance(*images, scope), strict=True)
        logits = [similar + gain * different for similar, different in pairs]
    w_a, w_p, w_n, w_n2 = (attention(total, qk) for total, qk in zip(logits, images, strict=True))
    return w_a, w_p, w_n, w_n2


def bilinear_pooling(x: Tensor, y: Tensor) -> Tensor:
    """Return the signed square root of XᵀY / N, scaled to L2 norm 100, (B, C*C); computed in float32 or better."""
    precise = torch.promote_types(x.dtype, torch.float32)
    with outside_autocast(x):
        products = (x.to(precise).mT @ y.to(precise) / x.shape[1]).flatten(1)
    rooted = products.sign() * (products.abs() + 1e-5).sqrt()
    return (100.0 * F.normalize(rooted, dim=1, eps=1e-12)).to(x.dtype)


def similarity(distance: Tensor, scope: str) -> Tensor:
    """Return S = hi - D, where hi is the largest distance in the whole batch or in each sample."""
    return distance.amax(_extent(scope), keepdim=True) - distance


def dissimilarity(distance: Tensor, scope: str) -> Tensor:
    """Return D' = D - lo, where lo is the smallest distance in the whole batch or in each sample."""
    return distance - distance.amin(_extent(scope), keepdim=True)


def importance(aligned: Tensor) -> tuple[Tensor, Tensor]:
    """Return column importance (B, Nk) and row importance (B, Nq) of an aligned matrix (B, Nq, Nk).

    Column importance sums the matrix with L2-normalized rows over its rows; row importance sums the matrix with
    L2-normalized columns over its columns.
    """
    column_importance = F.normalize(aligned, dim=2, eps=1e-12).sum(1)
    row_importance = F.normalize(aligned, dim=1, eps=1e-12).sum(2)
    return column_importance, row_importance


def exemplar_importance(distance: Tensor, own: Tensor | None, scope: str) -> Tensor:
    """Return the importance (B, N) of tokens from their distances (B, K, M, N) to the tokens of K exemplars.

    It is the mean of the column importance of the K similarity matrices. Comparisons that `own` (B, K) marks count
    neither in the mean nor for the largest distance; an image without any comparison has importance 0.
    """
    extent = (0, 1, 2, 3) if scope == "batch" else (2, 3)
    if own is None:
        aligned = distance.amax(extent, keepdim=True) - distance
        return F.normalize(aligned, dim=3, eps=1e-12).sum(2).mean(1)
    # A distance is at least 0, so 0 never exceeds the largest one.
    aligned = distance.masked_fill(own[:, :, None, None], 0).amax(extent, keepdim=True) - distance
    single = F.normalize(aligned, dim=3, eps=1e-12).sum(2)
    compared = (~own).to(single.dtype).unsqueeze(2)
    return (single * compared).sum(1) / compared.sum(1).clamp_min(1)


def attention(logits: Tensor, like: Tensor) -> Tensor:
    """Return the softmax of logits (B, N) over the tokens, in the dtype of `like`."""
    return logits.softmax(-1).to(like.dtype)


def _similarity_importance(a: Tensor, p: Tensor, n: Tensor, n2: Tensor, scope: str) -> list[Tensor]:
    """Return the importance of a, p, n, n2 from the matrices S_pa and S_n2n."""
    importance_a, importance_p = importance(similarity(euclidean_distance(p, a), scope))
    importance_n, importance_n2 = importance(similarity(euclidean_distance(n2, n), scope))
    return [importance_a, importance_p, importance_n, importance_n2]


def _dissimilarity_importance(a: Tensor, p: Tensor, n: Tensor, n2: Tensor, scope: str) -> list[Tensor]:
    """Return the importance of a, p, n, n2 from the matrices D'_na and D'_n2p."""
    importance_a, importance_n = importance(dissimilarity(euclidean_distance(n, a), scope))
    importance_p, importance_n2 = importance(dissimilarity(euclidean_distance(n2, p), scope))
    return [importance_a, importance_p, importance_n, importance_n2]


def _extent(scope: str) -> tuple[int, ...]:
    return (0, 1, 2) if scope == "batch" else (1, 2)
