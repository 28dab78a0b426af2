"""Run a network in bfloat16."""

from __future__ import annotations

from torch import Tensor, nn


class InBfloat16(nn.Module):
    """Compute in bfloat16, with images and logits in float32.

    Args:
        network: The network; its weights are converted in place.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.bfloat16()

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, classes)."""
        logits: Tensor = self.network(images.bfloat16())
        return logits.float()
