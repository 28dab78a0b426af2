"""The operators in closed form: one matrix product forward, two backward, and few element-wise passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from qcs.ops import reference
from qcs.ops.analytic.closed_form import combined_logits
from qcs.ops.analytic.distance import Distance
from qcs.ops.analytic.importance import GridImportance, padded
from qcs.ops.memory import fits
from qcs.ops.output import WEIGHTS, Output
from qcs.ops.precision import is_tf32_allowed
from qcs.ops.reference import bilinear_pooling as bilinear_pooling  # already one product

_Masks: TypeAlias = tuple[Tensor | None, Tensor | None]

TRACED_MATRICES = 4
"""Tensors of the size of the distances that a compiled program holds at its peak."""

TRACED_BYTES_ON_CPU = 1 << 24
"""Beyond so many bytes of distances, strips in the cache of a CPU are faster than what a compiler makes."""


def euclidean_distance(q: Tensor, k: Tensor) -> Tensor:
    """Return Euclidean distances (B, Nq, Nk), in float32 precision or better."""
    distances: Tensor = Distance.apply(*_distinct([q, k]))[0]
    return distances


def cross_similarity(qk_a: Tensor, qk_p: Tensor, scope: str, output: Output = WEIGHTS) -> tuple[Tensor, ...]:
    """Return attention weights (B, N) of anchor and positive from one similarity matrix with rows p and columns a."""
    mask_a, mask_p, *_ = output.masks
    logits_p, logits_a = _pair_importance(qk_p, qk_a, "s", scope, mask_p, mask_a)
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
    """Return attention weights (B, N) of the four images from two similarity and two dissimilarity matrices.

    Rows p and n and columns a and n2 form a grid of four matrices, similarity on the diagonal and dissimilarity off
    it, if the images of the rows have one length and those of the columns too. Other lengths take a product per matrix.
    """
    images = (qk_a, qk_p, qk_n, qk_n2)
    if matrices != "sd" or qk_p.shape != qk_n.shape or qk_a.shape != qk_n2.shape:
        logits = reference.quadruplet_logits(_pair_importance, images, gain, matrices, scope, output.masks)
        return output.of(logits, images)
    mask_a, mask_p, mask_n, mask_n2 = output.masks
    rows, columns = [qk_p, qk_n], [qk_a, qk_n2]
    masks = _stacked(rows, columns, (mask_p, mask_n), (mask_a, mask_n2))
    of_grid = combined_logits(*_grid_importance(rows, columns, "sd", scope, masks), gain)
    results = (output.of_one(x, qk_a.dtype, mask).unbind(1) for x, mask in zip(of_grid, masks, strict=True))
    (w_p, w_n), (w_a, w_n2) = results
    return w_a, w_p, w_n, w_n2


def path(size: int, device: torch.device, is_compiling: bool) -> str:
    """Return how a grid whose distances have so many bytes is computed.

    Returns:
        `"traced"`, plain tensor functions that a compiler fuses; `"kept"`, strips that keep the distances; or
        `"recomputed"`, strips that compute them in every pass.
    """
    # A compiled program multiplies with the precision of the moment it runs: no guard reaches into it.
    may_trace = size <= TRACED_BYTES_ON_CPU if device.type == "cpu" else not is_tf32_allowed(device)
    if is_compiling and may_trace and fits(TRACED_MATRICES * size, device):
        return "traced"
    return "kept" if fits(size, device) else "recomputed"


def _pair_importance(
    row: Tensor, column: Tensor, kind: str, scope: str, row_mask: Tensor | None, column_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the importance of row tokens (B, N) and of column tokens (B, M) in one matrix."""
    masks = _stacked([row], [column], (row_mask,), (column_mask,))
    rows, columns = _grid_importance([row], [column], kind, scope, masks)
    return rows.flatten(1), columns.flatten(1)


def _grid_importance(
    rows: Sequence[Tensor], columns: Sequence[Tensor], kinds: str, scope: str, masks: _Masks
) -> tuple[Tensor, Tensor]:
    """Return the importance of rows (B, R, N, K) and of columns (B, R, K, M) in every matrix.

    Args:
        rows: R images (B, N, C).
        columns: As many images (B, M, C).
        kinds: One matrix of similarity `"s"` or dissimilarity `"d"`, or two by two `"sd"`: similarity on the diagonal,
            dissimilarity off it.
        scope: Where the extremal distances are taken.
        masks: Padding of the rows (B, R, N) and of the columns (B, K, M), or None for both.
    """
    images = padded(_distinct([image for pair in zip(rows, columns, strict=True) for image in pair]))
    elements = len(rows) * len(columns) * rows[0].shape[0] * rows[0].shape[1] * columns[0].shape[1]
    size = elements * torch.promote_types(rows[0].dtype, torch.float32).itemsize
    how = path(size, rows[0].device, torch.compiler.is_compiling())
    row_importance, column_importance, *_ = GridImportance.apply(kinds, scope, how, *masks, *images)
    return row_importance, column_importance


def _distinct(images: Sequence[Tensor]) -> list[Tensor]:
    """Return the images, views of those that occur again: compilers trace no function of one tensor given twice."""
    return [x.view_as(x) if any(x is other for other in images[:n]) else x for n, x in enumerate(images)]


def _stacked(
    rows: Sequence[Tensor],
    columns: Sequence[Tensor],
    row_masks: Sequence[Tensor | None],
    column_masks: Sequence[Tensor | None],
) -> _Masks:
    """Return the masks of the rows (B, R, N) and of the columns (B, K, M), or None for both if no image has one."""
    if all(mask is None for mask in (*row_masks, *column_masks)):
        return None, None
    complete = [
        torch.stack(
            [
                image.new_zeros(image.shape[:2], dtype=torch.bool) if mask is None else mask
                for mask, image in zip(masks, images, strict=True)
            ],
            1,
        )
        for masks, images in ((row_masks, rows), (column_masks, columns))
    ]
    return complete[0], complete[1]
