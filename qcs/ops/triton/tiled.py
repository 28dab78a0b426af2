"""Kernels for images of any number of tokens: tiles of distances are formed, used and forgotten, memory grows with N.

One program works for a tile of one image's tokens ("own") in one slot, and all tokens of the image met there ("other")
pass by. Vectors lie as (B, slot, image, token), the tokens padded to whole tiles.
"""

# Kernels are not Python to a type checker, and write constants in capitals.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls
# ruff: noqa: N803
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


@triton.jit
def statistics_kernel(
    tokens, batch_strides, lengths, stride, C, lows, sums, squares,
    FIRST_SLOT: tl.constexpr, IMAGES: tl.constexpr, BLOCK: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Per own token: m = min sD over the other tokens, Σ (sD - m) and Σ (sD - m)².

    When a lower minimum turns up the sums follow by adding, so that nothing cancels: with the drop d and n tokens so
    far, Σ² grows by 2d·Σ + n·d², and Σ by n·d.
    """
    b, image, slot, rows, _group, place = own_part(FIRST_SLOT, IMAGES, BLOCK)
    met = image ^ (1 + slot)
    own, own_length = image_of(image, b, tokens, batch_strides, lengths)
    other, other_length = image_of(met, b, tokens, batch_strides, lengths)
    low = tl.full((BLOCK,), INFINITY, tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    square = tl.zeros((BLOCK,), tl.float32)
    if tl.program_id(2) * BLOCK < own_length:
        for start in range(0, other_length, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            distance, _ = met_distance(
                own, rows, own_length, other, columns, other_length, stride, C, image > met, BLOCK_C
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
def norm_kernel(
    lengths, lows, sums, squares, minima, norms, totals,
    FIRST_SLOT: tl.constexpr, IMAGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Per own token: the norm and the sum of its row of A. Padding has norm infinity and sum 0."""
    _sample, image, slot, rows, group, place = own_part(FIRST_SLOT, IMAGES, BLOCK)
    inside = rows < pick(image, lengths)
    drop = tl.load(lows + place, inside, other=0.0) - tl.load(minima + group)
    count = pick(image ^ (1 + slot), lengths)
    square, total = shifted(tl.load(squares + place), tl.load(sums + place), count, drop)
    tl.store(norms + place, tl.where(inside, floored(tl.sqrt(square)), INFINITY))
    tl.store(totals + place, tl.where(inside, total, 0.0))


@triton.jit
def importance_kernel(
    tokens, batch_strides, lengths, stride, C, minima, norms, importance,
    FIRST_SLOT: tl.constexpr, IMAGES: tl.constexpr, BLOCK: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Per own token: the sum of its row of A, each entry over the norm of its column."""
    b, image, slot, rows, group, place = own_part(FIRST_SLOT, IMAGES, BLOCK)
    met = image ^ (1 + slot)
    own, own_length = image_of(image, b, tokens, batch_strides, lengths)
    other, other_length = image_of(met, b, tokens, batch_strides, lengths)
    low = tl.load(minima + group)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, other_length, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        aligned, _, _, _ = aligned_tile(
            own, rows, own_length, other, columns, other_length, stride, C, image > met, slot, low, BLOCK_C
        )
        norm = tl.load(norms + (group - image + met) * padded(BLOCK) + columns)
        total += tl.sum(aligned / norm[None, :], 1)
    tl.store(importance + place, total)


@triton.jit
def alpha_kernel(
    tokens, batch_strides, lengths, stride, C, minima, norms, bars, alphas, ties,
    FIRST_SLOT: tl.constexpr, IMAGES: tl.constexpr, BLOCK: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Per own token: the gradient that flows through the norm of its row, and its entries at the extremum."""
    b, image, slot, rows, group, place = own_part(FIRST_SLOT, IMAGES, BLOCK)
    met = image ^ (1 + slot)
    own, own_length = image_of(image, b, tokens, batch_strides, lengths)
    other, other_length = image_of(met, b, tokens, batch_strides, lengths)
    low = tl.load(minima + group)
    moment = tl.zeros((BLOCK,), tl.float32)
    count = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, other_length, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        aligned, valid, _, _ = aligned_tile(
            own, rows, own_length, other, columns, other_length, stride, C, image > met, slot, low, BLOCK_C
        )
        bar = tl.load(bars + (group - image + met) * padded(BLOCK) + columns)
        moment += tl.sum(aligned * bar[None, :], 1)
        count += tl.sum(tied(aligned, low, valid).to(tl.float32), 1)
    tl.store(alphas + place, norm_slope(moment, tl.load(norms + place)))
    tl.store(ties + place, count)


@triton.jit
def gradient_kernel(
    tokens, batch_strides, lengths, stride, C, minima, norms, bars, alphas, shares, gradients,
    FIRST_SLOT: tl.constexpr, IMAGES: tl.constexpr, BLOCK: tl.constexpr, BLOCK_C: tl.constexpr,
    STOP_SLOT: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Gradient of some own tokens and channels, over all slots."""
    b = tl.program_id(0).to(tl.int64)
    image = tl.program_id(1) % IMAGES
    tiles = tl.num_programs(1) // IMAGES
    rows = tl.program_id(1) // IMAGES * BLOCK + tl.arange(0, BLOCK)
    channels = tl.program_id(2) * CHUNK + tl.arange(0, CHUNK)
    own, own_length = image_of(image, b, tokens, batch_strides, lengths)
    pull = tl.zeros((BLOCK, CHUNK), tl.float32)
    for slot in tl.static_range(FIRST_SLOT, STOP_SLOT):
        met = image ^ (1 + slot)
        other, other_length = image_of(met, b, tokens, batch_strides, lengths)
        first = (b * (STOP_SLOT - FIRST_SLOT) + slot - FIRST_SLOT) * IMAGES
        own_place = (first + image) * tiles * BLOCK + rows
        low = tl.load(minima + first + image)
        share = tl.load(shares + first + image)
        own_bar = tl.load(bars + own_place)
        own_norm = tl.load(norms + own_place)
        own_alpha = tl.load(alphas + own_place)
        for start in range(0, other_length, BLOCK):
            columns = start + tl.arange(0, BLOCK)
            place = (first + met) * tiles * BLOCK + columns
            aligned, valid, distance, lost = aligned_tile(
                own, rows, own_length, other, columns, other_length, stride, C, image > met, slot, low, BLOCK_C
            )
            # 0 outside the images, where bars, alphas and A are 0 and norms infinite.
            slope = aligned_slope(
                aligned, own_bar, tl.load(bars + place), own_norm, tl.load(norms + place),
                own_alpha, tl.load(alphas + place),
            )  # fmt: skip
            weight = pull_weight(slope, share, tied(aligned, low, valid), distance, sign_of(slot))
            pull = pull_tile(
                pull, weight, lost,
                own, rows, own_length, other, columns, other_length, stride, channels, C,
            )  # fmt: skip
    out = pick(image, gradients) + (b * own_length + rows)[:, None] * C + channels[None, :]
    tl.store(out, pull.to(out.dtype.element_ty), (rows < own_length)[:, None] & (channels < C)[None, :])


@triton.jit
def own_part(FIRST_SLOT: tl.constexpr, IMAGES: tl.constexpr, BLOCK: tl.constexpr):
    """Sample, image and slot of this program, its own tokens, and its places in scalars and vectors of the layout."""
    b = tl.program_id(0).to(tl.int64)
    image = tl.program_id(1) % IMAGES
    slot = tl.program_id(1) // IMAGES + FIRST_SLOT
    rows = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    group = b * tl.num_programs(1) + tl.program_id(1)
    return b, image, slot, rows, group, group * padded(BLOCK) + rows


@triton.jit
def padded(BLOCK: tl.constexpr):
    return tl.num_programs(2) * BLOCK


@triton.jit
def image_of(image, b, tokens, batch_strides, lengths):
    return pick(image, tokens) + b * pick(image, batch_strides), pick(image, lengths)


@triton.jit
def met_distance(own, rows, own_length, other, columns, other_length, stride, C, exchange, BLOCK_C: tl.constexpr):
    """Distances of two tiles to the same last bit whichever image is the own: the lower image gives the rows.

    Else the two would not agree on which entry is the extremum.
    """
    distance, lost = distance_tile(
        tl.where(exchange, other, own),
        tl.where(exchange, columns, rows),
        tl.where(exchange, other_length, own_length),
        tl.where(exchange, own, other),
        tl.where(exchange, rows, columns),
        tl.where(exchange, own_length, other_length),
        stride,
        C,
        BLOCK_C,
    )
    signed = tl.where(lost, -distance, distance)  # one tile to transpose instead of two
    signed = tl.where(exchange, tl.trans(signed), signed)
    return tl.abs(signed), signed < 0.0


@triton.jit
def aligned_tile(
    own, rows, own_length, other, columns, other_length, stride, C, exchange, slot, low, BLOCK_C: tl.constexpr
):  # fmt: skip
    """A of two tiles, 0 outside the images; which entries are inside; distances, and which had lost digits."""
    distance, lost = met_distance(own, rows, own_length, other, columns, other_length, stride, C, exchange, BLOCK_C)
    valid = (rows < own_length)[:, None] & (columns < other_length)[None, :]
    return tl.where(valid, sign_of(slot) * distance - low, 0.0), valid, distance, lost


@triton.jit
def shifted(square, total, count, drop):
    """Sums of squares and of values after all `count` values grew by `drop`."""
    return square + 2.0 * drop * total + count * drop * drop, total + count * drop
