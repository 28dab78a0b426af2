"""A gate over channels for pooled features, in the manner of squeeze-and-excitation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from qcs.typed_call import same_signature


class ChannelGate(nn.Module):
    """Scales each channel by a factor in (0, 1) computed from all channels: x · sigmoid(Linear(ReLU(Linear(x)))).

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
        """Return the gated features (B, C)."""
        return x * torch.sigmoid(self.linear2(torch.relu(self.linear1(x))))

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...
