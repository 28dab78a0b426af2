"""Check the images that a network receives: how many batches, their shape, dtype and device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qcs.errors import InputError


def check_images(images: Sequence[Tensor], branches: int, channels: int, side: int | None, like: Tensor) -> None:
    """Check the image batches of one forward pass.

    Args:
        images: A batch (B, channels, H, W) for each branch, or one batch to classify.
        branches: Branches of the network.
        channels: Channels of the images.
        side: Side of the images in pixels; None allows any.
        like: A parameter of the network, for dtype and device.

    Raises:
        InputError: If anything does not fit.
    """
    if isinstance(images[0], torch.fx.Proxy):
        raise InputError("torch.fx cannot trace this network; use forward hooks for inner features")
    if len(images) not in (1, branches):
        expected = "1 image batch" if branches == 1 else f"1 or {branches} image batches"
        raise InputError(f"this network takes {expected}, got {len(images)}")
    for x in images:
        if x.ndim != 4 or x.shape[1] != channels or 0 in x.shape:
            raise InputError(f"expected images (B, {channels}, H, W), got shape {tuple(x.shape)}")
        if side and x.shape[2:] != (side, side):
            raise InputError(
                f"this network takes images of {side} x {side} pixels, got {x.shape[2]} x {x.shape[3]}; resize them, "
                "or create it with img_size=..."
            )
        if x.shape != images[0].shape:
            raise InputError(f"all branches must have one shape, got {tuple(images[0].shape)} and {tuple(x.shape)}")
        if not x.is_floating_point() or (x.dtype != like.dtype and not torch.is_autocast_enabled(x.device.type)):
            raise InputError(f"expected normalized images of dtype {like.dtype}, got {x.dtype}")
        if x.device != like.device:
            raise InputError(f"the network is on {like.device}, the images are on {x.device}; move one of them")
