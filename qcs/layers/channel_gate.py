"""A gate over channels, as squeeze-and-excitation has, for features that are already pooled."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelGate(nn.Module):
    """x · sigmoid(Linear(ReLU(Linear(x)))): every channel scaled by a factor in (0, 1) seen from all channels.

    Args:
        dim: Channels C.

    Example:
        >>> import torch
        >>> from qcs.layers import ChannelGate
        >>> ChannelGate(8)(torch.randn(2, 8)).shape
        torch.Size([2, 8])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, dim)
        self.linear2 = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Gated features (B, C)."""
        return x * torch.sigmoid(self.linear2(torch.relu(self.linear1(x))))
