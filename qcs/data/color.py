"""Adjust brightness, contrast, saturation and hue of a batch, with one amount per image; values from 0 to 255."""

from __future__ import annotations

import torch
from torch import Tensor


def luminance(x: Tensor) -> Tensor:
    """Convert images to grayscale (B, 1, H, W) with the weights of ITU-R BT.601, as Pillow does."""
    if x.shape[1] == 1:
        return x
    return (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply images (B, C, H, W) by a factor (B, 1, 1, 1) and clip."""
    return (x * factor).clamp_(0, 255)


def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply the difference of images (B, C, H, W) from their mean luminance by a factor (B, 1, 1, 1) and clip."""
    return _blend(x, luminance(x).mean((2, 3), keepdim=True), factor)


def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply the difference of color images (B, 3, H, W) from their grayscale by a factor (B, 1, 1, 1) and clip."""
    return _blend(x, luminance(x), factor)


def adjust_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Shift the hue of color images (B, 3, H, W) by a fraction of the color circle (B, 1, 1, 1)."""
    value, low = x.amax(1), x.amin(1)
    chroma = value - low
    red, green, blue = x.unbind(1)
    divisor = chroma.clamp_min(1e-6)
    sector = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    turned = sector + 6 * shift.squeeze(1)
    # A channel equals `value` in the third of the circle around its own hue and `low` in the opposite third.
    away = torch.stack([_turns(turned - home) for home in (0, 2, 4)], dim=1)
    return value.unsqueeze(1) - chroma.unsqueeze(1) * (away - 1).clamp_(0, 1)


def _turns(sectors: Tensor) -> Tensor:
    """Return the distance to a hue in sixths of the circle, 0 to 3."""
    return torch.remainder(sectors + 3, 6).sub_(3).abs_()


def _blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(other.expand_as(x), x, factor).clamp_(0, 255)
