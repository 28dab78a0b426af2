"""Half-width weights for the formats of PyTorch itself."""

from __future__ import annotations

from torch import Tensor, nn


class InBfloat16(nn.Module):
    """A network that computes in bfloat16 between images and logits in float32.

    Args:
        network: The network; its weights are converted in place.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.bfloat16()

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, classes)."""
        logits: Tensor = self.network(images.bfloat16())
        return logits.float()
