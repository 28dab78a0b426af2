"""Tokens on one common grid from the feature maps of several levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from qcs.errors import InputError
from qcs.typed_call import same_signature


class LevelTokens(nn.Module):
    """Reduces every level's map to the same grid and width by strided convolutions and concatenates the tokens.

    A map that is halved h times passes one 3x3 convolution of stride 2 that keeps its channels, then h - 1 more that
    widen it to `dim`; with h below 2, a 1x1 convolution widens it.

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
        """Return the tokens (B, levels * grid², dim) of the maps, level by level and row by row.

        Args:
            maps: Feature map (B, C_level, H, W) of every level.
        """
        return self.embed_maps(self.reduce_maps(maps))

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...

    def reduce_maps(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the map of every level after its first halving."""
        return [reduce(x) for x, reduce in zip(maps, self.reduce, strict=True)]

    def embed_maps(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the tokens (B, levels * grid², dim) of maps that were halved once."""
        embedded = [embed(x) for x, embed in zip(maps, self.embed, strict=True)]
        return torch.cat([x.flatten(2).transpose(1, 2) for x in embedded], dim=1)  # (B, C, H, W) to (B, H * W, C)


def halvings(side: int, grid_size: int) -> int | None:
    """Return how often to halve a side to reach the grid's; None if halving never reaches it."""
    if grid_size < 1:
        return None
    times = (side // grid_size).bit_length() - 1
    return times if times >= 0 and grid_size << times == side else None


def common_grid(sides: Sequence[int]) -> int:
    """Return the smallest side, halved while it is even and above 8: few tokens, but fine enough to locate features."""
    side = min(sides)
    while side > 8 and side % 2 == 0:
        side //= 2
    return side
