"""Define the cross-similarity operators in plain differentiable PyTorch.

Faster backends are tested against this file, and this file against golden numbers of the original code. Letters:
B batch, N tokens, C channels; `D[b, i, j]` is the Euclidean distance of row token i and column token j.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from qcs.ops import world
from qcs.ops._autograd import outside_autocast
from qcs.ops.output import WEIGHTS, Output

PairImportance: TypeAlias = Callable[
    [Tensor, Tensor, str, str, "Tensor | None", "Tensor | None"], tuple[Tensor, Tensor]
]
"""From tokens of rows and columns, kind, scope, and padding of both, to the importance of rows and of columns."""


def euclidean_distance(q: Tensor, k: Tensor) -> Tensor:
    """Return Euclidean distances (B, Nq, Nk), in float32 precision or better.

    Differences are formed before they are squared: the product form loses small distances between large tokens. Equal
    tokens have distance exactly 0, with gradient 0.
    """
    precise = torch.promote_types(q.dtype, torch.float32)
    return torch.cdist(q.to(precise), k.to(precise), compute_mode="donot_use_mm_for_euclid_dist")


def cross_similarity(qk_a: Tensor, qk_p: Tensor, scope: str, output: Output = WEIGHTS) -> tuple[Tensor, ...]:
    """Return attention weights (B, N) of anchor and positive from one similarity matrix with rows p and columns a."""
    mask_a, mask_p, *_ = output.masks
    logits_p, logits_a = pair_importance(qk_p, qk_a, "s", scope, mask_p, mask_a)
    return output.of((logits_a, logits_p), (qk_a, qk_p))


def quadruplet_cross_similarity(
    qk_a: Tensor,
    qk_p: Tensor,
    qk_n: Tensor,
    qk_n2: Tensor,
    gain: Tensor | float,
    matrices: str,
    scope: str,
    output: Output = WEIGHTS,
) -> tuple[Tensor, ...]:
    """Return attention weights (B, N) of the four images from two similarity and two dissimilarity matrices."""
    images = (qk_a, qk_p, qk_n, qk_n2)
    logits = quadruplet_logits(pair_importance, images, gain, matrices, scope, output.masks)
    return output.of(logits, images)


def quadruplet_logits(
    importance_of: PairImportance,
    images: Sequence[Tensor],
    gain: Tensor | float,
    matrices: str,
    scope: str,
    masks: Sequence[Tensor | None],
) -> list[Tensor]:
    """Return logits (B, N) of a, p, n, n2, each the sum of its importance in the matrices of its two pairs.

    Args:
        importance_of: Function that returns the importance of rows and columns of one matrix, as `pair_importance`.
        images: Tokens (B, N, C) of a, p, n, n2, of any lengths.
        gain: Weight of the dissimilarity, for `"sd"` only.
        matrices: `"s"`, `"d"` or `"sd"`.
        scope: Where the extremal distances are taken.
        masks: Padding (B, N) of the images, or None.
    """
    a, p, n, n2 = range(4)
    importance: dict[str, list[Tensor]] = {}
    for kind, pairs in (("s", ((p, a), (n2, n))), ("d", ((n, a), (n2, p)))):
        if kind in matrices:
            found: dict[int, Tensor] = {}
            for r, c in pairs:
                found[r], found[c] = importance_of(images[r], images[c], kind, scope, masks[r], masks[c])
            importance[kind] = [found[image] for image in range(4)]
    if matrices != "sd":
        return importance[matrices]
    return [similar + gain * different for similar, different in zip(importance["s"], importance["d"], strict=True)]


def pair_importance(
    row: Tensor,
    column: Tensor,
    kind: str,
    scope: str,
    row_mask: Tensor | None = None,
    column_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the importance of row tokens (B, N) and of column tokens (B, M) in their matrix of kind `"s"` or `"d"`.

    Entries of padding are 0 in the aligned matrix, and no extremum: what remains is the result without these tokens.
    """
    distance, align = euclidean_distance(row, column), similarity if kind == "s" else dissimilarity
    column_importance, row_importance = importance(align(distance, scope, outside(row_mask, column_mask)))
    return row_importance, column_importance


def outside(row_mask: Tensor | None, column_mask: Tensor | None) -> Tensor | None:
    """Return the entries of a matrix that belong to padding of its rows (B, N) or columns (B, M), or None."""
    if row_mask is None:
        return None if column_mask is None else column_mask.unsqueeze(1)
    return row_mask.unsqueeze(2) if column_mask is None else row_mask.unsqueeze(2) | column_mask.unsqueeze(1)


def bilinear_pooling(x: Tensor, y: Tensor) -> Tensor:
    """Return the signed square root of XᵀY / N, scaled to L2 norm 100, (B, C*C); computed in float32 or better."""
    precise = torch.promote_types(x.dtype, torch.float32)
    with outside_autocast(x):
        products = (x.to(precise).mT @ y.to(precise) / x.shape[1]).flatten(1)
    rooted = products.sign() * (products.abs() + 1e-5).sqrt()
    return (100.0 * F.normalize(rooted, dim=1, eps=1e-12)).to(x.dtype)


def similarity(distance: Tensor, scope: str, outside: Tensor | None = None) -> Tensor:
    """Return S = hi - D, where hi is the largest distance of the scope: whole batch, each sample, or all processes.

    Entries `outside`, a mask that broadcasts to D, count for nothing and become 0.
    """
    among = distance if outside is None else distance.masked_fill(outside, 0)  # no distance is below 0
    aligned = _extremum(among, scope, largest=True) - distance
    return aligned if outside is None else aligned.masked_fill(outside, 0)


def dissimilarity(distance: Tensor, scope: str, outside: Tensor | None = None) -> Tensor:
    """Return D' = D - lo, where lo is the smallest distance of the scope: whole batch, each sample, or all processes.

    Entries `outside`, a mask that broadcasts to D, count for nothing and become 0.
    """
    among = distance if outside is None else distance.masked_fill(outside, torch.inf)
    aligned = distance - _extremum(among, scope, largest=False)
    return aligned if outside is None else aligned.masked_fill(outside, 0)


def importance(aligned: Tensor) -> tuple[Tensor, Tensor]:
    """Return column importance (B, Nk) and row importance (B, Nq) of an aligned matrix (B, Nq, Nk).

    Column importance sums the matrix with L2-normalized rows over its rows; row importance sums the matrix with
    L2-normalized columns over its columns.
    """
    column_importance = F.normalize(aligned, dim=2, eps=1e-12).sum(1)
    row_importance = F.normalize(aligned, dim=1, eps=1e-12).sum(2)
    return column_importance, row_importance


def exemplar_importance(
    distance: Tensor,
    own: Tensor | None,
    scope: str,
    mask: Tensor | None = None,
    exemplar_mask: Tensor | None = None,
) -> Tensor:
    """Return the importance (B, N) of tokens from their distances (B, K, M, N) to the tokens of K exemplars.

    It is the mean of the column importance of the K similarity matrices. Comparisons that `own` (B, K) marks count
    neither in the mean nor for the largest distance; an image without any comparison has importance 0. Padding, of the
    images (B, N) or of the exemplars (K, M), counts for nothing.
    """
    extent = (2, 3) if scope == "sample" else (0, 1, 2, 3)
    count = distance.shape[1] if own is None else (~own).sum(1, keepdim=True).clamp_min(1)
    excluded = [
        None if own is None else own[:, :, None, None],
        None if exemplar_mask is None else exemplar_mask[:, :, None],
        None if mask is None else mask[:, None, None],
    ]
    without: Tensor | None = None
    for part in excluded:
        if part is not None:
            without = part if without is None else without | part
    if without is None:
        aligned = distance.amax(extent, keepdim=True) - distance
    else:  # a distance is at least 0, so 0 never exceeds the largest one
        hi = distance.masked_fill(without, 0).amax(extent, keepdim=True)
        aligned = (hi - distance).masked_fill(without, 0)
    return F.normalize(aligned, dim=3, eps=1e-12).sum((1, 2)) / count


def _extremum(distance: Tensor, scope: str, largest: bool) -> Tensor:
    """Return the largest or smallest distance of a scope, so that it broadcasts to the distances (B, N, M)."""
    extent = (1, 2) if scope == "sample" else (0, 1, 2)
    local = distance.amax(extent, keepdim=True) if largest else distance.amin(extent, keepdim=True)
    if scope != "world":
        return local
    return world.extremum(local, (distance == local).sum(extent, keepdim=True), largest)
