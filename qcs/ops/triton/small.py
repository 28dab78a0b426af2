"""Kernels for images of at most 64 tokens: a distance matrix is one tile, kept for the backward pass.

It is smaller than the tokens it came from (N under C). The sign bit of a stored distance says that the product form had
lost its digits. Partial results that are folded over the batch lie as (block, B), a block being a pair of images that
meet: 0 = (a, p), 1 = (n, n2), 2 = (a, n), 3 = (p, n2), counted from the first in use.
"""

# Kernels are not Python to a type checker, and write constants in capitals.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls
# ruff: noqa: N803, SIM102, SIM108
from __future__ import annotations

import triton
import triton.language as tl

from qcs.ops.triton.tile import (
    INFINITY,
    aligned_slope,
    distance_tile,
    floored,
    lowest,
    norm_slope,
    pick,
    pull_tile,
    pull_weight,
    sign_of,
    tied,
)

FOLD = tl.constexpr(128)


@triton.jit
def distance_kernel(
    tokens, batch_strides, lengths, stride, C, distances, lows,
    FIRST_SLOT: tl.constexpr, BLOCK: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Distances of one block of one sample, and the smallest of sD."""
    b = tl.program_id(0).to(tl.int64)
    index = tl.program_id(1)
    row_image, column_image, slot = images_of(index + 2 * FIRST_SLOT)
    q = pick(row_image, tokens) + b * pick(row_image, batch_strides)
    k = pick(column_image, tokens) + b * pick(column_image, batch_strides)
    q_length = pick(row_image, lengths)
    k_length = pick(column_image, lengths)
    span = tl.arange(0, BLOCK)
    distance, lost = distance_tile(q, span, q_length, k, span, k_length, stride, C, BLOCK_C)
    valid = (span < q_length)[:, None] & (span < k_length)[None, :]
    low = lowest(lowest(tl.where(valid, sign_of(slot) * distance, INFINITY), 1), 0)
    place = (b * tl.num_programs(1) + index) * BLOCK * BLOCK
    tl.store(distances + place + span[:, None] * BLOCK + span[None, :], tl.where(lost, -distance, distance))
    tl.store(lows + index * tl.num_programs(0) + b, low)


@triton.jit
def attention_kernel(
    distances, lows, lengths, gain, factor, attention, weights,
    FIRST_SLOT: tl.constexpr, STOP_SLOT: tl.constexpr, WHOLE_BATCH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Weights of one image of one sample, in float32 for the backward pass and in the tokens' dtype."""
    b = tl.program_id(0).to(tl.int64)
    B = tl.num_programs(0)
    image = tl.program_id(1)
    images = tl.num_programs(1)
    length = pick(image, lengths)
    span = tl.arange(0, BLOCK)
    logits = tl.zeros((BLOCK,), tl.float32)
    for slot in tl.static_range(FIRST_SLOT, STOP_SLOT):
        index = block_of(image, slot) - 2 * FIRST_SLOT
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
def slope_kernel(
    distances, lows, lengths, gain, factor, attention, upstream, upstream_batch, upstream_token, slopes, sums,
    FIRST_SLOT: tl.constexpr, STOP_SLOT: tl.constexpr, WHOLE_BATCH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradient of the aligned matrix of one block of one sample, the extremum's held back.

    `sums` (3, block, B) receives what the next kernel folds: the sum of the slopes, the number of entries at the
    extremum, and the block's part of the gain's gradient.
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

    row_logit = logit_slope(row_image, images, b, lengths, attention, upstream, upstream_batch, upstream_token, BLOCK)
    column_logit = logit_slope(
        column_image, images, b, lengths, attention, upstream, upstream_batch, upstream_token, BLOCK
    )
    weight = weight_of(slot, gain, factor)
    row_bar = row_logit * weight
    column_bar = column_logit * weight
    row_norm = floored(tl.sqrt(tl.sum(aligned * aligned, 1)))
    column_norm = floored(tl.sqrt(tl.sum(aligned * aligned, 0)))
    row_alpha = norm_slope(tl.sum(aligned * column_bar[None, :], 1), row_norm)
    column_alpha = norm_slope(tl.sum(aligned * row_bar[:, None], 0), column_norm)
    slope = aligned_slope(aligned, row_bar, column_bar, row_norm, column_norm, row_alpha, column_alpha)
    slope = tl.where(valid, slope, 0.0)

    tl.store(slopes + place, slope)
    tie = tied(aligned, low, valid)
    out = sums + index * B + b
    tl.store(out, tl.sum(slope))
    tl.store(out + blocks * B, tl.sum(tie.to(tl.float32)))
    row_part = tl.sum(row_logit * tl.sum(aligned / column_norm[None, :], 1), 0)
    column_part = tl.sum(column_logit * tl.sum(aligned / row_norm[:, None], 0), 0)
    tl.store(out + 2 * blocks * B, row_part + column_part)


@triton.jit
def gradient_kernel(
    tokens, batch_strides, lengths, stride, C, distances, lows, slopes, sums, gradients, gain_gradient,
    FIRST_SLOT: tl.constexpr, STOP_SLOT: tl.constexpr, WHOLE_BATCH: tl.constexpr,
    BLOCK: tl.constexpr, STEP: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Gradient of some channels of one image of one sample; the first program also folds the gain's."""
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
        met = image ^ (1 + slot)
        other_length = pick(met, lengths)
        other = pick(met, tokens) + b * pick(met, batch_strides)
        index = block_of(image, slot) - 2 * FIRST_SLOT
        low = scope_lowest(lows + index * B, b, B, WHOLE_BATCH)
        sum_of_slopes = scope_sum(sums + index * B, b, B, WHOLE_BATCH)
        share = sum_of_slopes / scope_sum(sums + (blocks + index) * B, b, B, WHOLE_BATCH)
        for start in range(0, other_length, STEP):
            columns = start + tl.arange(0, STEP)
            place = (b * blocks + index) * BLOCK * BLOCK + own_first(image, slot, columns, BLOCK)
            valid = (span < length)[:, None] & (columns < other_length)[None, :]
            stored = tl.load(distances + place)
            tie = tied(sign_of(slot) * tl.abs(stored) - low, low, valid)
            weight = pull_weight(tl.load(slopes + place), share, tie, tl.abs(stored), sign_of(slot))
            total = pull_tile(
                total, weight, stored < 0.0, own, span, length, other, columns, other_length, stride, channels, C
            )
    out = pick(image, gradients) + (b * length + span)[:, None] * C + channels[None, :]
    tl.store(out, total.to(out.dtype.element_ty), (span < length)[:, None] & (channels < C)[None, :])
    if gain_gradient is not None:  # known when compiled, so not one condition with the next
        if (tl.program_id(0) == 0) & (image == 0) & (tl.program_id(2) == 0):
            dissimilar = sums + (2 * blocks + 2) * B
            tl.store(gain_gradient, scope_sum(dissimilar, 0, B, True) + scope_sum(dissimilar + B, 0, B, True))


@triton.jit
def images_of(block):
    """Row image, column image and slot of a block."""
    slot = block // 2
    rows = (block % 2) * (2 - slot)
    return rows, rows + 1 + slot, slot


@triton.jit
def block_of(image, slot: tl.constexpr):
    """Block in which an image takes part."""
    return (image // 2) * (1 - slot) + (2 + image % 2) * slot


@triton.jit
def own_first(image, slot: tl.constexpr, columns, BLOCK: tl.constexpr):
    """Offsets into a block that put the image's own tokens along the rows."""
    own = tl.arange(0, BLOCK)[:, None]
    is_column = ((image >> slot) & 1) == 1
    return own * tl.where(is_column, 1, BLOCK) + columns[None, :] * tl.where(is_column, BLOCK, 1)


@triton.jit
def weight_of(slot, gain, factor):
    """1 for S; for D' the gain, a parameter where given, else a number."""
    if gain is not None:
        dissimilar = tl.load(gain)
    else:
        dissimilar = factor
    return tl.where(slot == 1, dissimilar, 1.0)


@triton.jit
def scope_lowest(partial, b, B, WHOLE_BATCH: tl.constexpr):
    if WHOLE_BATCH:
        running = tl.full((FOLD,), INFINITY, tl.float32)
        for start in range(0, B, FOLD):
            samples = start + tl.arange(0, FOLD)
            part = tl.load(partial + samples, samples < B, other=INFINITY)
            running = tl.minimum(running, part, propagate_nan=tl.PropagateNan.ALL)
        low = lowest(running, 0)
    else:
        low = tl.load(partial + b)
    return low


@triton.jit
def scope_sum(partial, b, B, WHOLE_BATCH: tl.constexpr):
    if WHOLE_BATCH:
        running = tl.zeros((FOLD,), tl.float32)
        for start in range(0, B, FOLD):
            samples = start + tl.arange(0, FOLD)
            running += tl.load(partial + samples, samples < B, other=0.0)
        total = tl.sum(running, 0)
    else:
        total = tl.load(partial + b)
    return total


@triton.jit
def logit_slope(image, images, b, lengths, attention, upstream, upstream_batch, upstream_token, BLOCK: tl.constexpr):
    """Gradient of an image's logits from that of its weights."""
    span = tl.arange(0, BLOCK)
    probability = tl.load(attention + (b * images + image) * BLOCK + span)
    place = b * pick(image, upstream_batch) + span * pick(image, upstream_token)
    bar = tl.load(pick(image, upstream) + place, span < pick(image, lengths), other=0.0).to(tl.float32)
    return probability * (bar - tl.sum(probability * bar, 0))
