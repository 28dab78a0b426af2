"""Brightness, contrast, saturation and hue of a batch, every image by its own amount; values from 0 to 255."""

from __future__ import annotations

import torch
from torch import Tensor


def luminance(x: Tensor) -> Tensor:
    """Gray value (B, 1, H, W) of grayscale or color images, by the weights of ITU-R 601 as in Pillow."""
    if x.shape[1] == 1:
        return x
    return (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Images (B, C, H, W) times factor (B, 1, 1, 1), clipped."""
    return (x * factor).clamp_(0, 255)


def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Distance of images (B, C, H, W) from their mean gray value times factor (B, 1, 1, 1), clipped."""
    return _blend(x, luminance(x).mean((2, 3), keepdim=True), factor)


def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Distance of color images (B, 3, H, W) from gray times factor (B, 1, 1, 1), clipped."""
    return _blend(x, luminance(x), factor)


def adjust_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Color images (B, 3, H, W) with the hue moved by shift (B, 1, 1, 1), a share of the color circle."""
    value, low = x.amax(1), x.amin(1)
    chroma = value - low
    red, green, blue = x.unbind(1)
    per = chroma.clamp_min(1e-6)
    sector = torch.where(
        value == red,
        (green - blue) / per,
        torch.where(value == green, 2 + (blue - red) / per, 4 + (red - green) / per),
    )
    turned = sector + 6 * shift.squeeze(1)
    # A channel is at `value` for a third of the circle around its own hue, at `low` for the opposite third.
    away = torch.stack([_turns(turned - home) for home in (0, 2, 4)], dim=1)
    return value.unsqueeze(1) - chroma.unsqueeze(1) * (away - 1).clamp_(0, 1)


def _turns(sectors: Tensor) -> Tensor:
    """How far a hue is away, in sixths of the circle, 0 to 3."""
    return torch.remainder(sectors + 3, 6).sub_(3).abs_()


def _blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(other.expand_as(x), x, factor).clamp_(0, 255)
