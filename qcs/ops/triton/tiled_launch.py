"""Launches for images of any number of tokens: vectors of one number per token, slot and pass, no matrix in memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from qcs.ops.triton import layout, tiled
from qcs.ops.triton.layout import Form, Images, four


def allocate(tokens: list[Tensor], form: Form) -> list[Tensor]:
    """What the backward pass needs: attention, importance, norm and sum of A's rows, and the smallest sD.

    Vectors are (B, slot, image, token), the tokens padded to whole tiles; the attention is without slot, the smallest
    sD without token.
    """
    first, longest = tokens[0], max(x.shape[1] for x in tokens)
    B, images, slots = first.shape[0], len(tokens), form.slots
    padded = layout.steps(longest, layout.TILE) * layout.TILE
    return [
        first.new_empty(B, images, padded, dtype=torch.float32),
        *(first.new_empty(B, slots, images, padded, dtype=torch.float32) for _ in range(3)),
        first.new_empty(B, slots, images, dtype=torch.float32),
    ]


def forward(
    tokens: list[Tensor], gain: Tensor | None, factor: float, form: Form, weights: list[Tensor], kept: list[Tensor]
) -> None:
    """Fill the weights, and what `allocate` returned."""
    attention, importance, norms, totals, minima = kept
    images, part = Images.of(tokens), _part(tokens, form)
    grid = _grid(importance, part)
    lows, sums, squares = (torch.empty_like(norms) for _ in range(3))
    tiled.statistics_kernel[grid](*images, lows, sums, squares, **part, BLOCK_C=layout.BLOCK_C)
    smallest = lows.amin(-1)
    minima.copy_(_over_scope(torch.minimum(smallest, _of_met(smallest, form)), form, torch.amin))
    tiled.norm_kernel[grid](images.lengths, lows, sums, squares, minima, norms, totals, **part)
    tiled.importance_kernel[grid](*images, minima, norms, importance, **part, BLOCK_C=layout.BLOCK_C)
    attention.zero_()
    logits = _weighted(importance, gain, factor).sum(1)
    for image, out in enumerate(weights):
        inside = attention[:, image, : out.shape[1]]
        inside.copy_(logits[:, image, : out.shape[1]].softmax(-1))
        out.copy_(inside)


def backward(
    upstream: list[Tensor], tokens: list[Tensor], gain: Tensor | None, factor: float, form: Form,
    kept: list[Tensor], gradients: list[Tensor], gain_gradient: Tensor | None,
) -> None:  # fmt: skip
    """Fill the gradients of the tokens, and of the gain where it is a parameter."""
    attention, importance, norms, totals, minima = kept
    images, part = Images.of(tokens), _part(tokens, form)
    grid = _grid(importance, part)
    slopes = torch.zeros_like(attention)
    for image, bar in enumerate(upstream):
        probability = attention[:, image, : bar.shape[1]]
        slopes[:, image, : bar.shape[1]] = probability * (bar - (probability * bar).sum(-1, keepdim=True))
    bars = _weighted(slopes[:, None].expand_as(importance), gain, factor).contiguous()
    alphas, ties = torch.empty_like(norms), torch.empty_like(norms)
    tiled.alpha_kernel[grid](*images, minima, norms, bars, alphas, ties, **part, BLOCK_C=layout.BLOCK_C)

    # Σ dA of a block from its vectors: Σ ū · Σ 1/r - Σ α·(A 1), and the same with the sides exchanged.
    of_side = bars.sum(-1) * _of_met(norms.reciprocal().sum(-1), form) - (alphas * totals).sum(-1)
    of_block = _over_scope(of_side + _of_met(of_side, form), form, torch.sum)
    shares = of_block / _over_scope(ties.sum(-1), form, torch.sum)
    tiled.gradient_kernel[(grid[0], len(tokens) * grid[2], layout.steps(images.channels, layout.CHUNK))](
        *images, minima, norms, bars, alphas, shares, four(gradients), **part,
        BLOCK_C=layout.BLOCK_C, STOP_SLOT=form.stop_slot, CHUNK=layout.CHUNK, num_stages=1,
    )  # fmt: skip
    if gain_gradient is not None:
        gain_gradient.copy_((slopes * importance[:, 1]).sum())


def _part(tokens: list[Tensor], form: Form) -> dict[str, int]:
    """What tells a program its part of the work."""
    return dict(FIRST_SLOT=form.first_slot, IMAGES=len(tokens), BLOCK=layout.TILE, num_warps=layout.WARPS)


def _grid(vectors: Tensor, part: dict[str, int]) -> tuple[int, int, int]:
    B, slots, images, padded = vectors.shape
    return B, slots * images, padded // part["BLOCK"]


def _of_met(x: Tensor, form: Form) -> Tensor:
    """Exchange (B, slot, image) between the images that meet: image ^ 1 in slot 0, image ^ 2 in slot 1."""
    slots = range(form.first_slot, form.stop_slot)
    pairs = x.view(*x.shape[:2], -1, 2)
    return torch.stack([of.flip(2 - slot).flatten(1) for slot, of in zip(slots, pairs.unbind(1), strict=True)], 1)


def _over_scope(x: Tensor, form: Form, fold: Callable[..., Tensor]) -> Tensor:
    """Fold (B, slot, image) over the batch where the scope is the batch; every sample gets the result."""
    return fold(x, 0, keepdim=True).expand_as(x).contiguous() if form.whole_batch else x


def _weighted(x: Tensor, gain: Tensor | None, factor: float) -> Tensor:
    """(B, slot, image, token) with D' times the gain where S is there too."""
    if x.shape[1] == 1:
        return x
    return torch.stack([x[:, 0], x[:, 1] * (factor if gain is None else gain)], 1)
