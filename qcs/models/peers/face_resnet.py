"""Parts of the ResNets trained for face recognition that peers start from: ResNet-18 and ResNet-50.

ResNet-18 is the stock one. ResNet-50 is the port of VGGFace2's Caffe network: its max pooling does not pad but rounds
up, and a bottleneck strides in its first convolution.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from timm.models.resnet import BasicBlock, downsample_conv
from torch import Tensor, nn

from qcs.typed_call import same_signature

RESNET18_WIDTHS = (64, 128, 256, 512)
RESNET50_WIDTHS, RESNET50_DEPTHS = (256, 512, 1024, 2048), (3, 4, 6, 3)
STEM_WIDTH = 64


def resnet_stem(in_chans: int, pool: nn.Module) -> nn.Sequential:
    """Return the stem of stride 4: convolution of 7 pixels, batch norm, ReLU, pooling."""
    conv = nn.Conv2d(in_chans, STEM_WIDTH, 7, 2, 3, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(STEM_WIDTH), act=nn.ReLU(), pool=pool))


def resnet18_stem(in_chans: int) -> nn.Sequential:
    """Return the stem of ResNet-18."""
    return resnet_stem(in_chans, nn.MaxPool2d(3, 2, 1))


def resnet18_stage(index: int) -> nn.Sequential:
    """Return one of the four stages of ResNet-18, of two basic blocks."""
    before, width = (STEM_WIDTH, *RESNET18_WIDTHS)[index : index + 2]
    stride = 1 if index == 0 else 2
    shortcut = downsample_conv(before, width, 1, stride) if index else None
    return nn.Sequential(BasicBlock(before, width, stride, shortcut), BasicBlock(width, width))


def kaiming_init(module: nn.Module) -> None:
    """Initialize a convolution from Kaiming's normal distribution by its outputs, its bias by 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Bottleneck(nn.Module):
    """Residual unit of convolutions of 1, 3 and 1 pixels; the first strides. ReLU follows the sum.

    Args:
        in_chs: Channels of the input.
        out_chs: Channels of the output; a quarter of them inside.
        stride: In pixels.
        project: Whether a convolution fits the shortcut.
    """

    def __init__(self, in_chs: int, out_chs: int, stride: int = 1, project: bool = False) -> None:
        super().__init__()
        width = out_chs // 4
        self.conv1 = nn.Conv2d(in_chs, width, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_chs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_chs)
        self.downsample = downsample_conv(in_chs, out_chs, 1, stride) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map (B, in_chs, H, W) as (B, out_chs, H / stride, W / stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.downsample(x) + self.bn3(self.conv3(y)))

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


def resnet50_stem(in_chans: int) -> nn.Sequential:
    """Return the stem of VGGFace2's ResNet-50."""
    return resnet_stem(in_chans, nn.MaxPool2d(3, 2, 0, ceil_mode=True))


def resnet50_stage(index: int) -> nn.Sequential:
    """Return one of the four stages of VGGFace2's ResNet-50."""
    before, width = (STEM_WIDTH, *RESNET50_WIDTHS)[index : index + 2]
    first = Bottleneck(before, width, 1 if index == 0 else 2, project=True)
    return nn.Sequential(first, *(Bottleneck(width, width) for _ in range(RESNET50_DEPTHS[index] - 1)))
