"""Test-time augmentation."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FlipTTA(nn.Module):
    """Average the class probabilities of an image and of its horizontal flip, at twice the cost.

    Args:
        model: Maps images (B, C, H, W) to logits (B, K).

    Example:
        >>> import torch, qcs
        >>> model, images = qcs.create_model("base_nano").eval(), torch.randn(2, 3, 48, 48)
        >>> averaged = FlipTTA(model)
        >>> torch.allclose(averaged(images), averaged(images.flip(-1)), atol=1e-5)
        True
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the logarithm (B, K) of the mean probabilities of images (B, C, H, W)."""
        both = self.model(torch.cat([x, x.flip(-1)])).float().softmax(-1)
        mean: Tensor = both.view(2, len(x), -1).mean(0)
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()  # log(0) is infinite
