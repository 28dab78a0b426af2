"""Launches and kernels for images of any number of tokens: tiles of distances are never stored, memory grows with N.

One program computes a tile of one image's tokens ("own") in one slot, in a loop over all tokens of the image paired
with it there ("other"). Vectors have shape (B, slot, image, token), the tokens padded to whole tiles.
"""

# Kernels are not Python to a type checker, and write constants in capitals.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls
# ruff: noqa: N803
from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor

from qcs.ops.triton import tile
from qcs.ops.triton.tile import (
    INFINITY,
    Form,
    Images,
    add_weighted_differences,
    aligned_grad,
    difference_weight,
    distance_tile,
    floored,
    four,
    lowest,
    norm_grad,
    pick,
    sign_of,
    tied,
)


def allocate(tokens: list[Tensor], form: Form) -> list[Tensor]:
    """Return memory kept for the backward pass: attention, importance, norms and sums of A's rows, smallest sD.

    The attention has no slot dimension, the smallest sD no token dimension.
    """
    first, longest = tokens[0], max(x.shape[1] for x in tokens)
    B, images, slots = first.shape[0], len(tokens), form.slots
    padded = tile.steps(longest, tile.TILE) * tile.TILE
    return [
        first.new_empty(B, images, padded, dtype=torch.float32),
        *(first.new_empty(B, slots, images, padded, dtype=torch.float32) for _ in range(3)),
        first.new_empty(B, slots, images, dtype=torch.float32),
    ]


def forward(
    tokens: list[Tensor], gain: Tensor | None, factor: float, form: Form, weights: list[Tensor], kept: list[Tensor]
) -> None:
    """Write the weights, and the memory from `allocate`."""
    attention, importance, norms, totals, minima = kept
    images, part = Images.of(tokens), _part(tokens, form)
    grid = _grid(importance, part)
    lows, sums, squares = (torch.empty_like(norms) for _ in range(3))
    statistics_fwd_kernel[grid](*images, lows, sums, squares, **part, BLOCK_C=tile.BLOCK_C)
    smallest = lows.amin(-1)
    minima.copy_(_over_scope(torch.minimum(smallest, _of_partner(smallest, form)), form, torch.amin))
    norm_fwd_kernel[grid](images.lengths, lows, sums, squares, minima, norms, totals, **part)
    importance_fwd_kernel[grid](*images, minima, norms, importance, **part, BLOCK_C=tile.BLOCK_C)
    attention.zero_()
    logits = _weighted(importance, gain, factor).sum(1)
    for image, out in enumerate(weights):
        inside = attention[:, image, : out.shape[1]]
        inside.copy_(logits[:, image, : out.shape[1]].softmax(-1))
        out.copy_(inside)


def backward(
    grad_weights: list[Tensor], tokens: list[Tensor], gain: Tensor | None, factor: float, form: Form,
    kept: list[Tensor], gradients: list[Tensor], grad_gain: Tensor | None,
) -> None:  # fmt: skip
    """Write the gradients of the tokens, and of the gain if it is a tensor."""
    attention, importance, norms, totals, minima = kept
    images, part = Images.of(tokens), _part(tokens, form)
    grid = _grid(importance, part)
    grad_logits = torch.zeros_like(attention)
    for image, grad in enumerate(grad_weights):
        probability = attention[:, image, : grad.shape[1]]
        grad_logits[:, image, : grad.shape[1]] = probability * (grad - (probability * grad).sum(-1, keepdim=True))
    grad_importance = _weighted(grad_logits[:, None].expand_as(importance), gain, factor).contiguous()
    alphas, ties = torch.empty_like(norms), torch.empty_like(norms)
    norm_bwd_kernel[grid](*images, minima, norms, grad_importance, alphas, ties, **part, BLOCK_C=tile.BLOCK_C)

    # Σ dA of a block from its vectors: Σ ū · Σ 1/r - Σ α·(A 1), and the same with the sides swapped.
    one_side = grad_importance.sum(-1) * _of_partner(norms.reciprocal().sum(-1), form) - (alphas * totals).sum(-1)
    grad_sum = _over_scope(one_side + _of_partner(one_side, form), form, torch.sum)
    grad_per_tie = grad_sum / _over_scope(ties.sum(-1), form, torch.sum).clamp_min(1)
    tokens_bwd_kernel[(grid[0], len(tokens) * grid[2], tile.steps(images.channels, tile.CHUNK))](
        *images, minima, norms, grad_importance, alphas, grad_per_tie, four(gradients), **part,
        BLOCK_C=tile.BLOCK_C, STOP_SLOT=form.stop_slot, CHUNK=tile.CHUNK, num_stages=1,
    )  # fmt: skip
    if grad_gain is not None:
        grad_gain.copy_((grad_logits * importance[:, 1]).sum())


def _part(tokens: list[Tensor], form: Form) -> dict[str, int]:
    """Return the constants that every kernel takes."""
    return dict(FIRST_SLOT=form.first_slot, IMAGES=len(tokens), BLOCK=tile.TILE, num_warps=tile.WARPS)


def _grid(vectors: Tensor, part: dict[str, int]) -> tuple[int, int, int]:
    B, slots, images, padded = vectors.shape
    return B, slots * images, padded // part["BLOCK"]


def _of_partner(x: Tensor, form: Form) -> Tensor:
    """Swap (B, slot, image) between paired images: image ^ 1 in slot 0, image ^ 2 in slot 1."""
    slots = range(form.first_slot, form.stop_slot)
    pairs = x.view(*x.shape[:2], -1, 2)
    return torch.stack([of.flip(2 - slot).flatten(1) for slot, of in zip(slots, pairs.unbind(1), strict=True)], 1)


def _over_scope(x: Tensor, form: Form, reduce: Callable[..., Tensor]) -> Tensor:
    """Reduce (B, slot, image) over the batch if the scope is the batch; every sample gets the result."""
    return reduce(x, 0, keepdim=True).expand_as(x).contiguous() if form.whole_batch else x


def _weighted(x: Tensor, gain: Tensor | None, factor: float) -> Tensor:
    """Return (B, slot, image, token) with D' multiplied by the gain if S is used too."""
    if x.shape[1] == 1:
        return x
    return torch.stack([x[:, 0], x[:, 1] * (factor if gain is None else gain)], 1)


@triton.jit
def statistics_fwd_kernel(
    tokens, batch_strides, lengths, stride, C, lows, sums, squares,
    FIRST_SLOT: tl.constexpr, IMAGES: tl.constexpr, BLOCK: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Compute per own token: m = min sD over the other tokens, Σ (sD - m) and Σ (sD - m)².

    When the minimum drops by d after n tokens, Σ² grows by 2d·Σ + n·d² and Σ by n·d: sums only grow, nothing cancels.
    """
    b, image, slot, rows, _group, place = own_part(FIRST_SLOT, IMAGES, BLOCK)
    partner = image ^ (1 + slot)
    own, own_length = image_of(image, b, tokens, batch_strides, lengths)
    other, other_length = image_of(partner, b, tokens, batch_strides, lengths)
    low = tl.full((BLOCK,), INFINITY, tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    square = tl.zeros((BLOCK,), tl.float32)
    if tl.program_id(2) * BLOCK < own_length:
        for start in range(0, other_length, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            distance, _ = partner_distance(
                own, rows, own_length, other, columns, other_length, stride, C, image > partner, BLOCK_C
            )
            signed = tl.where((columns < other_length)[None, :], sign_of(slot) * distance, INFINITY)
            before = low
            low = tl.minimum(before, lowest(signed, 1), propagate_nan=tl.PropagateNan.ALL)
            drop = tl.where(start == 0, 0.0, before - low)
            square, total = shifted(square, total, start, drop)
            above = tl.where((columns < other_length)[None, :], signed - low[:, None], 0.0)
            total += tl.sum(above, 1)
            square += tl.sum(above * above, 1)
    tl.store(lows + place, tl.where(rows < own_length, low, INFINITY))
    tl.store(sums + place, total)
    tl.store(squares + place, square)


@triton.jit
def norm_fwd_kernel(
    lengths, lows, sums, squares, minima, norms, totals,
    FIRST_SLOT: tl.constexpr, IMAGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute per own token the norm and the sum of its row of A. Padding has norm infinity and sum 0."""
    _sample, image, slot, rows, group, place = own_part(FIRST_SLOT, IMAGES, BLOCK)
    inside = rows < pick(image, lengths)
    drop = tl.load(lows + place, inside, other=0.0) - tl.load(minima + group)
    count = pick(image ^ (1 + slot), lengths)
    square, total = shifted(tl.load(squares + place), tl.load(sums + place), count, drop)
    tl.store(norms + place, tl.where(inside, floored(tl.sqrt(square)), INFINITY))
    tl.store(totals + place, tl.where(inside, total, 0.0))


@triton.jit
def importance_fwd_kernel(
    tokens, batch_strides, lengths, stride, C, minima, norms, importance,
    FIRST_SLOT: tl.constexpr, IMAGES: tl.constexpr, BLOCK: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Compute per own token the sum of its row of A, each entry divided by the norm of its column."""
    b, image, slot, rows, group, place = own_part(FIRST_SLOT, IMAGES, BLOCK)
    partner = image ^ (1 + slot)
    own, own_length = image_of(image, b, tokens, batch_strides, lengths)
    other, other_length = image_of(partner, b, tokens, batch_strides, lengths)
    low = tl.load(minima + group)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, other_length, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        aligned, _, _, _ = aligned_tile(
            own, rows, own_length, other, columns, other_length, stride, C, image > partner, slot, low, BLOCK_C
        )
        norm = tl.load(norms + (group - image + partner) * padded_length(BLOCK) + columns)
        total += tl.sum(aligned / norm[None, :], 1)
    tl.store(importance + place, total)


@triton.jit
def norm_bwd_kernel(
    tokens, batch_strides, lengths, stride, C, minima, norms, grad_importance, alphas, ties,
    FIRST_SLOT: tl.constexpr, IMAGES: tl.constexpr, BLOCK: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Compute per own token α, the gradient through the norm of its row, and the number of its tied entries."""
    b, image, slot, rows, group, place = own_part(FIRST_SLOT, IMAGES, BLOCK)
    partner = image ^ (1 + slot)
    own, own_length = image_of(image, b, tokens, batch_strides, lengths)
    other, other_length = image_of(partner, b, tokens, batch_strides, lengths)
    low = tl.load(minima + group)
    moment = tl.zeros((BLOCK,), tl.float32)
    count = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, other_length, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        aligned, valid, _, _ = aligned_tile(
            own, rows, own_length, other, columns, other_length, stride, C, image > partner, slot, low, BLOCK_C
        )
        grad = tl.load(grad_importance + (group - image + partner) * padded_length(BLOCK) + columns)
        moment += tl.sum(aligned * grad[None, :], 1)
        count += tl.sum(tied(aligned, low, valid).to(tl.float32), 1)
    tl.store(alphas + place, norm_grad(moment, tl.load(norms + place)))
    tl.store(ties + place, count)


@triton.jit
def tokens_bwd_kernel(
    tokens, batch_strides, lengths, stride, C, minima, norms, grad_importance, alphas, grad_per_tie, gradients,
    FIRST_SLOT: tl.constexpr, IMAGES: tl.constexpr, BLOCK: tl.constexpr, BLOCK_C: tl.constexpr,
    STOP_SLOT: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Compute the gradient of some own tokens and channels, over all slots."""
    b = tl.program_id(0).to(tl.int64)
    image = tl.program_id(1) % IMAGES
    tiles = tl.num_programs(1) // IMAGES
    rows = tl.program_id(1) // IMAGES * BLOCK + tl.arange(0, BLOCK)
    channels = tl.program_id(2) * CHUNK + tl.arange(0, CHUNK)
    own, own_length = image_of(image, b, tokens, batch_strides, lengths)
    total = tl.zeros((BLOCK, CHUNK), tl.float32)
    for slot in tl.static_range(FIRST_SLOT, STOP_SLOT):
        partner = image ^ (1 + slot)
        other, other_length = image_of(partner, b, tokens, batch_strides, lengths)
        first = (b * (STOP_SLOT - FIRST_SLOT) + slot - FIRST_SLOT) * IMAGES
        own_place = (first + image) * tiles * BLOCK + rows
        low = tl.load(minima + first + image)
        tie_grad = tl.load(grad_per_tie + first + image)
        own_grad = tl.load(grad_importance + own_place)
        own_norm = tl.load(norms + own_place)
        own_alpha = tl.load(alphas + own_place)
        for start in range(0, other_length, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            place = (first + partner) * tiles * BLOCK + columns
            aligned, valid, distance, canceled = aligned_tile(
                own, rows, own_length, other, columns, other_length, stride, C, image > partner, slot, low, BLOCK_C
            )
            # 0 outside the images, where grad_importance, alphas and A are 0 and norms infinite.
            grad = aligned_grad(
                aligned, own_grad, tl.load(grad_importance + place), own_norm, tl.load(norms + place),
                own_alpha, tl.load(alphas + place),
            )  # fmt: skip
            weight = difference_weight(grad, tie_grad, tied(aligned, low, valid), distance, sign_of(slot))
            total = add_weighted_differences(
                total, weight, canceled,
                own, rows, own_length, other, columns, other_length, stride, channels, C,
            )  # fmt: skip
    out = pick(image, gradients) + (b * own_length + rows)[:, None] * C + channels[None, :]
    tl.store(out, total.to(out.dtype.element_ty), (rows < own_length)[:, None] & (channels < C)[None, :])


@triton.jit
def own_part(FIRST_SLOT: tl.constexpr, IMAGES: tl.constexpr, BLOCK: tl.constexpr):
    """Return sample, image and slot of this program, its own tokens, and its offsets in scalars and vectors."""
    b = tl.program_id(0).to(tl.int64)
    image = tl.program_id(1) % IMAGES
    slot = tl.program_id(1) // IMAGES + FIRST_SLOT
    rows = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    group = b * tl.num_programs(1) + tl.program_id(1)
    return b, image, slot, rows, group, group * padded_length(BLOCK) + rows


@triton.jit
def padded_length(BLOCK: tl.constexpr):
    """Return the length of vectors over tokens."""
    return tl.num_programs(2) * BLOCK


@triton.jit
def image_of(image, b, tokens, batch_strides, lengths):
    """Return the address and the length of one image of one sample."""
    return pick(image, tokens) + b * pick(image, batch_strides), pick(image, lengths)


@triton.jit
def partner_distance(own, rows, own_length, other, columns, other_length, stride, C, swap, BLOCK_C: tl.constexpr):
    """Return distances of two tiles, equal in every bit whichever image is own: the lower image gives the rows.

    Otherwise the two images would not agree on which entry is the extremum.
    """
    distance, canceled = distance_tile(
        tl.where(swap, other, own),
        tl.where(swap, columns, rows),
        tl.where(swap, other_length, own_length),
        tl.where(swap, own, other),
        tl.where(swap, rows, columns),
        tl.where(swap, own_length, other_length),
        stride,
        C,
        BLOCK_C,
    )
    signed = tl.where(canceled, -distance, distance)  # one tile to transpose instead of two
    signed = tl.where(swap, tl.trans(signed), signed)
    return tl.abs(signed), signed < 0.0


@triton.jit
def aligned_tile(
    own, rows, own_length, other, columns, other_length, stride, C, swap, slot, low, BLOCK_C: tl.constexpr
):  # fmt: skip
    """Return A of two tiles, 0 outside the images; which entries are inside; distances, and which canceled."""
    distance, canceled = partner_distance(own, rows, own_length, other, columns, other_length, stride, C, swap, BLOCK_C)
    valid = (rows < own_length)[:, None] & (columns < other_length)[None, :]
    return tl.where(valid, sign_of(slot) * distance - low, 0.0), valid, distance, canceled


@triton.jit
def shifted(square, total, count, drop):
    """Return sums of squares and of values after all `count` values grew by `drop`."""
    return square + 2.0 * drop * total + count * drop * drop, total + count * drop
