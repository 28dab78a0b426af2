"""Launches for images of at most 64 tokens: two kernels forward, two backward, nothing in between."""

from __future__ import annotations

import torch
from torch import Tensor

from qcs.ops.triton import layout, small
from qcs.ops.triton.layout import Form, Images, four


def allocate(tokens: list[Tensor], form: Form) -> list[Tensor]:
    """What the backward pass needs: attention in float32, distances, smallest sD of each sample."""
    first, block = tokens[0], layout.block_of(tokens)
    B, blocks = first.shape[0], len(tokens) // 2 * form.slots
    return [
        first.new_empty(B, len(tokens), block, dtype=torch.float32),
        first.new_empty(B, blocks, block, block, dtype=torch.float32),
        first.new_empty(blocks, B, dtype=torch.float32),
    ]


def forward(
    tokens: list[Tensor], gain: Tensor | None, factor: float, form: Form, weights: list[Tensor], kept: list[Tensor]
) -> None:
    """Fill the weights, and what `allocate` returned."""
    attention, distances, lows = kept
    images = Images.of(tokens)
    small.distance_kernel[distances.shape[:2]](
        *images, distances, lows,
        FIRST_SLOT=form.first_slot, BLOCK=attention.shape[2], BLOCK_C=layout.BLOCK_C, num_warps=layout.WARPS,
    )  # fmt: skip
    small.attention_kernel[attention.shape[:2]](
        distances, lows, images.lengths, gain, factor, attention, four(weights), *form,
        BLOCK=attention.shape[2], num_warps=layout.WARPS,
    )  # fmt: skip


def backward(
    upstream: list[Tensor], tokens: list[Tensor], gain: Tensor | None, factor: float, form: Form,
    kept: list[Tensor], gradients: list[Tensor], gain_gradient: Tensor | None,
) -> None:  # fmt: skip
    """Fill the gradients of the tokens, and of the gain where it is a parameter."""
    attention, distances, lows = kept
    images = Images.of(tokens)
    block = attention.shape[2]
    slopes = torch.empty_like(distances)
    sums = lows.new_empty(3, *lows.shape)
    small.slope_kernel[distances.shape[:2]](
        distances, lows, images.lengths, gain, factor, attention,
        four(upstream), four([x.stride(0) for x in upstream]), four([x.stride(1) for x in upstream]),
        slopes, sums, *form, BLOCK=block, num_warps=layout.WARPS,
    )  # fmt: skip
    grid = (*attention.shape[:2], layout.steps(images.channels, layout.CHUNK))
    # Without a limit of its own, compiling for capability 10.0 takes 128 registers and spills.
    small.gradient_kernel[grid](
        *images, distances, lows, slopes, sums, four(gradients), gain_gradient, *form,
        BLOCK=block, STEP=layout.STEP, CHUNK=layout.CHUNK, num_warps=layout.WARPS, num_stages=1, maxnreg=255,
    )  # fmt: skip
