"""From the feature maps of several levels to tokens on one common grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from qcs.errors import InputError


class LevelTokens(nn.Module):
    """Brings every level's map to the same grid and width by strided convolutions, and concatenates the tokens.

    A level that is halved h times passes one 3x3 convolution of stride 2 that keeps its channels, then h - 1 more that
    widen to `dim`; where none remains a 1x1 convolution widens.

    Args:
        channels: Channels of each level's map.
        sides: Side of each level's map, in pixels; `grid_size` times a power of two.
        grid_size: Side of the common grid, in tokens.
        dim: Channels C of the tokens.

    Raises:
        InputError: If a side is not the grid size times a power of two.

    Example:
        >>> import torch
        >>> from qcs.layers import LevelTokens
        >>> tokens = LevelTokens([8, 16], [14, 7], grid_size=7, dim=32)
        >>> tokens([torch.randn(2, 8, 14, 14), torch.randn(2, 16, 7, 7)]).shape
        torch.Size([2, 98, 32])
    """

    def __init__(self, channels: Sequence[int], sides: Sequence[int], grid_size: int, dim: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList()
        self.embed = nn.ModuleList()
        for width, side in zip(channels, sides, strict=True):
            times = halvings(side, grid_size)
            if times is None:
                raise InputError(f"a feature map of side {side} cannot be halved to a grid of side {grid_size}")
            self.reduce.append(nn.Conv2d(width, width, 3, 2, 1) if times else nn.Identity())
            widths = [width] + [dim] * (times - 1)
            strided = [nn.Conv2d(before, dim, 3, 2, 1) for before in widths[:-1]]
            self.embed.append(nn.Sequential(*(strided or [nn.Conv2d(width, dim, 1)])))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Feature maps (B, C_level, H, W) to tokens (B, levels * grid², dim), each level row by row."""
        embedded = [embed(reduce(x)) for x, reduce, embed in zip(maps, self.reduce, self.embed, strict=True)]
        return torch.cat([rearrange(x, "b c h w -> b (h w) c") for x in embedded], dim=1)


def halvings(side: int, grid_size: int) -> int | None:
    """How often a side is halved to reach the grid's; None if it never gets there."""
    if grid_size < 1:
        return None
    times = (side // grid_size).bit_length() - 1
    return times if times >= 0 and grid_size << times == side else None


def common_grid(sides: Sequence[int]) -> int:
    """The smallest side, halved while it is even and above 8: few tokens, but not so few that places blur."""
    side = min(sides)
    while side > 8 and side % 2 == 0:
        side //= 2
    return side
