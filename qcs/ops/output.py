"""The last step of every backend: from logits to what the caller asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Output(NamedTuple):
    """Form of the result: weights or logits, in which dtype, and which tokens are padding."""

    logits: bool = False
    dtype: torch.dtype | None = None
    padding: tuple[Tensor | None, ...] | None = None
    """Masks (B, N) of the images in their order, true at padding; None for an image without any."""

    @property
    def masks(self) -> tuple[Tensor | None, ...]:
        """Return one mask or None for each of up to four images."""
        return self.padding or (None,) * 4

    def of(self, logits: Sequence[Tensor], tokens: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the result (B, N) of every image from its logits (B, N), which are in float32 or better.

        Padding has logit -inf and weight 0; an image that is all padding has weights 0.
        """
        results = zip(logits, tokens, self.masks, strict=False)
        return tuple(self.of_one(x, like.dtype, mask) for x, like, mask in results)

    def of_one(self, logits: Tensor, dtype: torch.dtype, mask: Tensor | None) -> Tensor:
        """Return the result (..., N) of logits (..., N), weights in the dtype of the tokens unless one is asked for."""
        if self.logits:
            result = logits if mask is None else logits.masked_fill(mask, -torch.inf)
            return result if self.dtype is None else result.to(self.dtype)
        if mask is None:
            return logits.softmax(-1).to(self.dtype or dtype)
        # Finite, so that the softmax of nothing has a gradient of 0 and not NaN.
        weights = logits.masked_fill(mask, torch.finfo(logits.dtype).min).softmax(-1)
        return weights.masked_fill(mask, 0).to(self.dtype or dtype)


WEIGHTS = Output()


def without_padding(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return tokens (B, N, C) whose padding is replaced by the mean of the other tokens, and has gradient 0.

    No result depends on it. The mean keeps padding of any value, NaN included, from spoiling products.
    """
    if mask is None:
        return x
    outside = mask.unsqueeze(2)
    with torch.no_grad():
        count = (~outside).sum(1, keepdim=True).clamp_min(1)
        precise = torch.promote_types(x.dtype, torch.float32)
        mean = (x.masked_fill(outside, 0).sum(1, keepdim=True, dtype=precise) / count).to(x.dtype)
    return torch.where(outside, mean, x)
