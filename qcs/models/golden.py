"""Images that every machine computes alike, and a network's logits for them, which verify its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qcs.errors import InputError

GOLDEN_INPUT = "waves"  # the name of `golden_images` in files
COUNT = 2


def golden_images(channels: int, side: int) -> Tensor:
    """Return the named input `"waves"`: two normalized images (2, channels, side, side), values in [-2, 2].

    Plane waves in closed form, computed in float64 and rounded once: no random numbers, no image files.

    Args:
        channels: Channels of the images.
        side: Their side in pixels.

    Example:
        >>> from qcs.models.golden import golden_images
        >>> golden_images(3, 48).shape
        torch.Size([2, 3, 48, 48])
    """
    image, channel, y, x = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64) for n in (COUNT, channels, side, side)), indexing="ij"
    )
    along, across = 2 * torch.pi * x / side, 2 * torch.pi * y / side
    waves = torch.sin((1 + image) * along + channel) + torch.cos((2 + channel) * across + along - image)
    return waves.float()


def image_size(model: Any) -> tuple[int, int]:
    """Return the channels of a network's images and their side in pixels."""
    channels, side, _ = model.pretrained_cfg["input_size"]
    return channels, side


def golden_logits(model: nn.Module, channels: int, side: int) -> Tensor:
    """Return the logits (2, classes) of a network in evaluation mode for `golden_images`, in float32 on the CPU."""
    training = model.training
    weight = next(model.parameters())
    try:
        with torch.inference_mode():
            images = golden_images(channels, side).to(weight.device, weight.dtype)
            logits: Tensor = model.eval()(images)
    finally:
        model.train(training)
    return logits.float().cpu()


def check_golden(model: nn.Module, expected: Sequence[Sequence[float]], channels: int, side: int) -> float:
    """Return the largest difference of a network's golden logits from the expected ones.

    Args:
        model: The network.
        expected: Golden logits (2, classes) as they were written beside the weights.
        channels: Channels of its images.
        side: Side of its images in pixels.

    Raises:
        InputError: If they differ by more than rounding: other weights or other code wrote them.
    """
    wanted, got = torch.tensor(expected), golden_logits(model, channels, side)
    if got.shape != wanted.shape:
        raise InputError(f"golden logits have shape {tuple(wanted.shape)}, this network gives {tuple(got.shape)}")
    difference = float((got - wanted).abs().max())
    allowed = 1e-3 * max(1.0, float(wanted.abs().max()))
    if not difference <= allowed:
        raise InputError(f"golden logits differ by {difference:.2g} (at most {allowed:.2g}): these are other weights")
    return difference
