"""MobileFaceNet that regresses 68 facial landmarks; POSTER and POSTER++ take its feature maps as queries.

Source: Chen et al., MobileFaceNets (arXiv 1804.07573).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from qcs.models.peers.mobile import conv_norm, conv_norm_act
from qcs.typed_call import same_signature

LANDMARKS = 68
SIDE = 112
"""Side in pixels of the images, which the layer before the landmarks requires."""


class LandmarkMaps(NamedTuple):
    """Feature maps of the landmark network.

    Attributes:
        low: (B, 64, 28, 28).
        middle: (B, 128, 14, 14).
        high: (B, 512, 7, 7).
    """

    low: Tensor
    middle: Tensor
    high: Tensor


class MobileUnit(nn.Module):
    """Widens a feature map, convolves each channel by itself and projects; the sum with the input if both fit.

    Args:
        in_chs: Channels of the input.
        out_chs: Channels of the output.
        width: Channels inside.
        stride: In pixels.
        residual: Whether to add the input.
    """

    def __init__(self, in_chs: int, out_chs: int, width: int, stride: int = 1, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.expand = conv_norm_act(in_chs, width)
        self.depthwise = conv_norm_act(width, width, 3, stride, 1, groups=width)
        self.project = conv_norm(width, out_chs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map (B, in_chs, H, W) as (B, out_chs, H / stride, W / stride)."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class MobileFaceNet(nn.Module):
    """Computes three feature maps of images of 112 pixels, and from the last one 68 landmarks.

    Args:
        in_chans: Channels of the images.

    Example:
        >>> import torch
        >>> from qcs.models.peers.mobilefacenet import MobileFaceNet
        >>> [tuple(x.shape) for x in MobileFaceNet()(torch.randn(2, 3, 112, 112))]
        [(2, 64, 28, 28), (2, 128, 14, 14), (2, 512, 7, 7)]
    """

    def __init__(self, in_chans: int = 3) -> None:
        super().__init__()
        self.stem = conv_norm_act(in_chans, 64, 3, 2, 1)
        self.stem_depthwise = conv_norm_act(64, 64, 3, 1, 1, groups=64)
        self.stages = nn.Sequential(
            _stage(MobileUnit(64, 64, 128, 2), 64, 128, 4),
            _stage(MobileUnit(64, 128, 256, 2), 128, 256, 6),
            _stage(MobileUnit(128, 128, 512, 2), 128, 256, 2),
        )
        self.separate = conv_norm_act(128, 512)
        depthwise = conv_norm(512, 512, 7, groups=512)
        linear = nn.Linear(512, 2 * LANDMARKS, bias=False)
        norm = nn.BatchNorm1d(2 * LANDMARKS)
        self.landmarks = nn.Sequential(OrderedDict(depthwise=depthwise, flatten=nn.Flatten(), linear=linear, norm=norm))
        self.apply(_init)

    def forward(self, x: Tensor) -> LandmarkMaps:
        """Return the feature maps (B, 64, 28, 28), (B, 128, 14, 14) and (B, 512, 7, 7) of images (B, C, 112, 112).

        In training the landmarks are computed too: no value depends on them, but their batch norms follow the images,
        as in the published networks.
        """
        low = self.stages[0](self.stem_depthwise(self.stem(x)))
        middle = self.stages[1](low)
        high = self.separate(self.stages[2](middle))
        if self.training:
            with torch.no_grad():
                self.landmarks(high)
        return LandmarkMaps(low, middle, high)

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


def _stage(down: MobileUnit, dim: int, width: int, depth: int) -> nn.Sequential:
    return nn.Sequential(down, *(MobileUnit(dim, dim, width, residual=True) for _ in range(depth)))


def _init(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
