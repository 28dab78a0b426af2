"""Launches and kernels for images of at most 64 tokens: two kernels forward, two backward.

A distance matrix is one tile, kept for the backward pass: it is smaller than the tokens (N below C). The sign bit of a
stored distance marks that the product form canceled. Partial results that are reduced over the batch have shape
(block, B). A block is a pair of images: 0 = (a, p), 1 = (n, n2), 2 = (a, n), 3 = (p, n2), counted from the first in
use.
"""

# Kernels are not Python to a type checker, and write constants in capitals.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls
# ruff: noqa: N803, SIM102, SIM108
from __future__ import annotations

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

REDUCE = tl.constexpr(128)


def allocate(tokens: list[Tensor], form: Form) -> list[Tensor]:
    """Return memory kept for the backward pass: attention in float32, distances, smallest sD of each sample."""
    first, block = tokens[0], tile.block_size(tokens)
    B, blocks = first.shape[0], len(tokens) // 2 * form.slots
    return [
        first.new_empty(B, len(tokens), block, dtype=torch.float32),
        first.new_empty(B, blocks, block, block, dtype=torch.float32),
        first.new_empty(blocks, B, dtype=torch.float32),
    ]


def forward(
    tokens: list[Tensor], gain: Tensor | None, factor: float, form: Form, weights: list[Tensor], kept: list[Tensor]
) -> None:
    """Write the weights, and the memory from `allocate`."""
    attention, distances, lows = kept
    images = Images.of(tokens)
    distance_fwd_kernel[distances.shape[:2]](
        *images, distances, lows,
        FIRST_SLOT=form.first_slot, BLOCK=attention.shape[2], BLOCK_C=tile.BLOCK_C, num_warps=tile.WARPS,
    )  # fmt: skip
    attention_fwd_kernel[attention.shape[:2]](
        distances, lows, images.lengths, gain, factor, attention, four(weights), *form,
        BLOCK=attention.shape[2], num_warps=tile.WARPS,
    )  # fmt: skip


def backward(
    grad_weights: list[Tensor], tokens: list[Tensor], gain: Tensor | None, factor: float, form: Form,
    kept: list[Tensor], gradients: list[Tensor], grad_gain: Tensor | None,
) -> None:  # fmt: skip
    """Write the gradients of the tokens, and of the gain if it is a tensor."""
    attention, distances, lows = kept
    images = Images.of(tokens)
    block = attention.shape[2]
    grad_aligned = torch.empty_like(distances)
    sums = lows.new_empty(3, *lows.shape)
    aligned_bwd_kernel[distances.shape[:2]](
        distances, lows, images.lengths, gain, factor, attention,
        four(grad_weights), four([x.stride(0) for x in grad_weights]), four([x.stride(1) for x in grad_weights]),
        grad_aligned, sums, *form, BLOCK=block, num_warps=tile.WARPS,
    )  # fmt: skip
    grid = (*attention.shape[:2], tile.steps(images.channels, tile.CHUNK))
    # Without this limit, the compiler takes 128 registers for capability 10.0 and spills.
    tokens_bwd_kernel[grid](
        *images, distances, lows, grad_aligned, sums, four(gradients), grad_gain, *form,
        BLOCK=block, STEP=tile.STEP, CHUNK=tile.CHUNK, num_warps=tile.WARPS, num_stages=1, maxnreg=255,
    )  # fmt: skip


@triton.jit
def distance_fwd_kernel(
    tokens, batch_strides, lengths, stride, C, distances, lows,
    FIRST_SLOT: tl.constexpr, BLOCK: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Compute the distances of one block of one sample, and the smallest of sD."""
    b = tl.program_id(0).to(tl.int64)
    index = tl.program_id(1)
    row_image, column_image, slot = images_of(index + 2 * FIRST_SLOT)
    q = pick(row_image, tokens) + b * pick(row_image, batch_strides)
    k = pick(column_image, tokens) + b * pick(column_image, batch_strides)
    q_length = pick(row_image, lengths)
    k_length = pick(column_image, lengths)
    span = tl.arange(0, BLOCK)
    distance, canceled = distance_tile(q, span, q_length, k, span, k_length, stride, C, BLOCK_C)
    valid = (span < q_length)[:, None] & (span < k_length)[None, :]
    low = lowest(lowest(tl.where(valid, sign_of(slot) * distance, INFINITY), 1), 0)
    place = (b * tl.num_programs(1) + index) * BLOCK * BLOCK
    tl.store(distances + place + span[:, None] * BLOCK + span[None, :], tl.where(canceled, -distance, distance))
    tl.store(lows + index * tl.num_programs(0) + b, low)


@triton.jit
def attention_fwd_kernel(
    distances, lows, lengths, gain, factor, attention, weights,
    FIRST_SLOT: tl.constexpr, STOP_SLOT: tl.constexpr, WHOLE_BATCH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute the weights of one image of one sample, in float32 for the backward pass and in the tokens' dtype."""
    b = tl.program_id(0).to(tl.int64)
    B = tl.num_programs(0)
    image = tl.program_id(1)
    images = tl.num_programs(1)
    length = pick(image, lengths)
    span = tl.arange(0, BLOCK)
    logits = tl.zeros((BLOCK,), tl.float32)
    for slot in tl.static_range(FIRST_SLOT, STOP_SLOT):
        index = block_index(image, slot) - 2 * FIRST_SLOT
        place = (b * (images // 2) * (STOP_SLOT - FIRST_SLOT) + index) * BLOCK * BLOCK
        valid = (span < length)[:, None] & (span < pick(image ^ (1 + slot), lengths))[None, :]
        low = scope_lowest(lows + index * B, b, B, WHOLE_BATCH)
        distance = tl.load(distances + place + own_first(image, slot, span, BLOCK))
        aligned = tl.where(valid, sign_of(slot) * tl.abs(distance) - low, 0.0)
        importance = tl.sum(aligned / floored(tl.sqrt(tl.sum(aligned * aligned, 0)))[None, :], 1)
        logits += importance * weight_of(slot, gain, factor)
    inside = span < length
    logits = tl.where(inside, logits, -INFINITY)
    powers = tl.exp(logits - tl.max(logits, 0))
    probability = powers / tl.sum(powers, 0)
    tl.store(attention + (b * images + image) * BLOCK + span, probability)
    out = pick(image, weights) + b * length + span
    tl.store(out, probability.to(out.dtype.element_ty), inside)


@triton.jit
def aligned_bwd_kernel(
    distances, lows, lengths, gain, factor, attention, grad_weights, grad_batch, grad_token, grad_aligned, sums,
    FIRST_SLOT: tl.constexpr, STOP_SLOT: tl.constexpr, WHOLE_BATCH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute the gradient of the aligned matrix of one block of one sample, with the extremum held fixed.

    `sums` (3, block, B) receives what the next kernel reduces: the sum of that gradient, the number of entries at the
    extremum, and the block's term of the gain's gradient.
    """
    b = tl.program_id(0).to(tl.int64)
    B = tl.num_programs(0)
    index = tl.program_id(1)
    blocks = tl.num_programs(1)
    row_image, column_image, slot = images_of(index + 2 * FIRST_SLOT)
    images = 2 * blocks // (STOP_SLOT - FIRST_SLOT)
    span = tl.arange(0, BLOCK)
    valid = (span < pick(row_image, lengths))[:, None] & (span < pick(column_image, lengths))[None, :]
    low = scope_lowest(lows + index * B, b, B, WHOLE_BATCH)
    place = (b * blocks + index) * BLOCK * BLOCK + span[:, None] * BLOCK + span[None, :]
    aligned = tl.where(valid, sign_of(slot) * tl.abs(tl.load(distances + place)) - low, 0.0)

    grad_row_logits = logits_grad(row_image, images, b, lengths, attention, grad_weights, grad_batch, grad_token, BLOCK)
    grad_column_logits = logits_grad(
        column_image, images, b, lengths, attention, grad_weights, grad_batch, grad_token, BLOCK
    )
    weight = weight_of(slot, gain, factor)
    grad_row_importance = grad_row_logits * weight
    grad_column_importance = grad_column_logits * weight
    row_norm = floored(tl.sqrt(tl.sum(aligned * aligned, 1)))
    column_norm = floored(tl.sqrt(tl.sum(aligned * aligned, 0)))
    row_alpha = norm_grad(tl.sum(aligned * grad_column_importance[None, :], 1), row_norm)
    column_alpha = norm_grad(tl.sum(aligned * grad_row_importance[:, None], 0), column_norm)
    grad = aligned_grad(
        aligned, grad_row_importance, grad_column_importance, row_norm, column_norm, row_alpha, column_alpha
    )
    grad = tl.where(valid, grad, 0.0)

    tl.store(grad_aligned + place, grad)
    tie = tied(aligned, low, valid)
    out = sums + index * B + b
    tl.store(out, tl.sum(grad))
    tl.store(out + blocks * B, tl.sum(tie.to(tl.float32)))
    row_part = tl.sum(grad_row_logits * tl.sum(aligned / column_norm[None, :], 1), 0)
    column_part = tl.sum(grad_column_logits * tl.sum(aligned / row_norm[:, None], 0), 0)
    tl.store(out + 2 * blocks * B, row_part + column_part)


@triton.jit
def tokens_bwd_kernel(
    tokens, batch_strides, lengths, stride, C, distances, lows, grad_aligned, sums, gradients, grad_gain,
    FIRST_SLOT: tl.constexpr, STOP_SLOT: tl.constexpr, WHOLE_BATCH: tl.constexpr,
    BLOCK: tl.constexpr, STEP: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Compute the gradient of some channels of one image of one sample; the first program also reduces the gain's."""
    b = tl.program_id(0).to(tl.int64)
    B = tl.num_programs(0)
    image = tl.program_id(1)
    blocks = (tl.num_programs(1) // 2) * (STOP_SLOT - FIRST_SLOT)
    length = pick(image, lengths)
    own = pick(image, tokens) + b * pick(image, batch_strides)
    span = tl.arange(0, BLOCK)
    channels = tl.program_id(2) * CHUNK + tl.arange(0, CHUNK)
    total = tl.zeros((BLOCK, CHUNK), tl.float32)
    for slot in tl.static_range(FIRST_SLOT, STOP_SLOT):
        partner = image ^ (1 + slot)
        other_length = pick(partner, lengths)
        other = pick(partner, tokens) + b * pick(partner, batch_strides)
        index = block_index(image, slot) - 2 * FIRST_SLOT
        low = scope_lowest(lows + index * B, b, B, WHOLE_BATCH)
        grad_sum = scope_sum(sums + index * B, b, B, WHOLE_BATCH)
        # At least 1: kernels whose last bits differ must not find an extremum that no entry attains.
        grad_per_tie = grad_sum / tl.maximum(scope_sum(sums + (blocks + index) * B, b, B, WHOLE_BATCH), 1.0)
        for start in range(0, other_length, STEP):
            columns = start + tl.arange(0, STEP)
            place = (b * blocks + index) * BLOCK * BLOCK + own_first(image, slot, columns, BLOCK)
            valid = (span < length)[:, None] & (columns < other_length)[None, :]
            stored = tl.load(distances + place)
            tie = tied(sign_of(slot) * tl.abs(stored) - low, low, valid)
            weight = difference_weight(tl.load(grad_aligned + place), grad_per_tie, tie, tl.abs(stored), sign_of(slot))
            total = add_weighted_differences(
                total, weight, stored < 0.0, own, span, length, other, columns, other_length, stride, channels, C
            )
    out = pick(image, gradients) + (b * length + span)[:, None] * C + channels[None, :]
    tl.store(out, total.to(out.dtype.element_ty), (span < length)[:, None] & (channels < C)[None, :])
    if grad_gain is not None:  # decided at compile time, so not joined with the next condition
        if (tl.program_id(0) == 0) & (image == 0) & (tl.program_id(2) == 0):
            dissimilar = sums + (2 * blocks + 2) * B
            tl.store(grad_gain, scope_sum(dissimilar, 0, B, True) + scope_sum(dissimilar + B, 0, B, True))


@triton.jit
def images_of(block):
    """Return row image, column image and slot of a block."""
    slot = block // 2
    rows = (block % 2) * (2 - slot)
    return rows, rows + 1 + slot, slot


@triton.jit
def block_index(image, slot: tl.constexpr):
    """Return the block of an image in a slot."""
    return (image // 2) * (1 - slot) + (2 + image % 2) * slot


@triton.jit
def own_first(image, slot: tl.constexpr, columns, BLOCK: tl.constexpr):
    """Return offsets into a block that put the image's own tokens along the rows."""
    own = tl.arange(0, BLOCK)[:, None]
    is_column = ((image >> slot) & 1) == 1
    return own * tl.where(is_column, 1, BLOCK) + columns[None, :] * tl.where(is_column, BLOCK, 1)


@triton.jit
def weight_of(slot, gain, factor):
    """Return 1 for S; for D' the gain if it is a tensor, else the number `factor`."""
    if gain is not None:
        dissimilar = tl.load(gain)
    else:
        dissimilar = factor
    return tl.where(slot == 1, dissimilar, 1.0)


@triton.jit
def scope_lowest(partial, b, B, WHOLE_BATCH: tl.constexpr):
    """Return the minimum over the scope from minima per sample (B)."""
    if WHOLE_BATCH:
        partial_result = tl.full((REDUCE,), INFINITY, tl.float32)
        for start in range(0, B, REDUCE):
            samples = start + tl.arange(0, REDUCE)
            part = tl.load(partial + samples, samples < B, other=INFINITY)
            partial_result = tl.minimum(partial_result, part, propagate_nan=tl.PropagateNan.ALL)
        low = lowest(partial_result, 0)
    else:
        low = tl.load(partial + b)
    return low


@triton.jit
def scope_sum(partial, b, B, WHOLE_BATCH: tl.constexpr):
    """Return the sum over the scope from sums per sample (B)."""
    if WHOLE_BATCH:
        partial_result = tl.zeros((REDUCE,), tl.float32)
        for start in range(0, B, REDUCE):
            samples = start + tl.arange(0, REDUCE)
            partial_result += tl.load(partial + samples, samples < B, other=0.0)
        total = tl.sum(partial_result, 0)
    else:
        total = tl.load(partial + b)
    return total


@triton.jit
def logits_grad(image, images, b, lengths, attention, grad_weights, grad_batch, grad_token, BLOCK: tl.constexpr):
    """Return the gradient of an image's logits from that of its weights."""
    span = tl.arange(0, BLOCK)
    probability = tl.load(attention + (b * images + image) * BLOCK + span)
    place = b * pick(image, grad_batch) + span * pick(image, grad_token)
    grad = tl.load(pick(image, grad_weights) + place, span < pick(image, lengths), other=0.0).to(tl.float32)
    return probability * (grad - tl.sum(probability * grad, 0))
