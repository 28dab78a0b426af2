"""Degrade images at random as cameras do: less light, blur, noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

PROBABILITY = 0.25  # of each degradation, for each image by itself


@dataclass(frozen=True)
class Degradation:
    """Degrade images (B, C, H, W) with values from 0 to 255, in the order in which light reaches a picture.

    Each degradation changes each image with probability 0.25, by an amount of its own.

    Args:
        low_light: Maximum fraction of the light that is taken away, in [0, 1).
        blur: Maximum standard deviation of the Gaussian blur, in pixels.
        noise: Maximum standard deviation of the Gaussian noise, of 255.

    Example:
        >>> degrade = Degradation(low_light=0.5, blur=1.0, noise=10.0)
        >>> degrade(torch.full((2, 1, 48, 48), 128.0), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 1, 48, 48])
    """

    low_light: float = 0.0
    blur: float = 0.0
    noise: float = 0.0

    def __bool__(self) -> bool:
        """Return whether anything changes."""
        return max(self.low_light, self.blur, self.noise) > 0

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return degraded copies, clipped to 0 to 255; None draws from the global generator of torch."""
        x = x.clone()
        for most, degrade in ((self.low_light, _darkened), (self.blur, _blurred), (self.noise, _noisy)):
            if most:
                own = torch.rand(len(x), generator=generator) < PROBABILITY
                amounts = most * torch.rand(len(x), generator=generator)
                if own.any():
                    x[own] = degrade(x[own], amounts[own].view(-1, 1, 1, 1), generator)
        return x.clamp_(0, 255)


def _darkened(x: Tensor, amount: Tensor, generator: torch.Generator | None) -> Tensor:
    return x * (1 - amount)


def _noisy(x: Tensor, amount: Tensor, generator: torch.Generator | None) -> Tensor:
    return x + amount * torch.randn(x.shape, generator=generator)


def _blurred(x: Tensor, amount: Tensor, generator: torch.Generator | None) -> Tensor:
    """Blur by one Gaussian per image; edges repeat."""
    count, channels, _, _ = x.shape
    radius = max(1, math.ceil(3 * float(amount.max())))
    offsets = torch.arange(-radius, radius + 1).float()
    kernel = torch.exp(-(offsets**2) / (2 * amount.view(-1, 1).clamp(min=1e-3) ** 2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = F.pad(x.reshape(1, count * channels, *x.shape[2:]), [radius] * 4, mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=len(kernel))
    return F.conv2d(flat, kernel[:, None, None, :], groups=len(kernel)).view(x.shape)
