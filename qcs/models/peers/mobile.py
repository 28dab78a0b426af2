"""Building blocks of the mobile face networks: convolution with batch norm, and with PReLU."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def conv_norm(
    in_chs: int, out_chs: int, kernel: int | tuple[int, int] = 1, stride: int = 1, padding: int = 0, groups: int = 1
) -> nn.Sequential:
    """Return a convolution without bias and its batch norm."""
    conv = nn.Conv2d(in_chs, out_chs, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(out_chs)))


def conv_norm_act(
    in_chs: int, out_chs: int, kernel: int = 1, stride: int = 1, padding: int = 0, groups: int = 1
) -> nn.Sequential:
    """Return a convolution without bias, its batch norm and a PReLU with a slope per channel."""
    block = conv_norm(in_chs, out_chs, kernel, stride, padding, groups)
    block.add_module("act", nn.PReLU(out_chs))
    return block
