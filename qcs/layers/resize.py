"""Resizing by nearest neighbor: images to a fixed side, feature maps by a stride."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from timm.models._features_fx import register_notrace_module
from torch import Tensor, nn
from torch.nn import functional as F

from qcs.errors import InputError
from qcs.typed_call import same_signature


def square_side(img_size: int | Sequence[int]) -> int:
    """Return the side of square images given as a number or as a pair (height, width).

    Args:
        img_size: Side in pixels, or two equal sides.

    Raises:
        InputError: If the sides differ or are no positive whole numbers.

    Example:
        >>> from qcs.layers.resize import square_side
        >>> square_side(48), square_side((48, 48))
        (48, 48)
    """
    sides = [img_size] if isinstance(img_size, int) else list(img_size) if isinstance(img_size, Sequence) else []
    if len(sides) not in (1, 2) or any(not isinstance(x, int) or x < 1 for x in sides) or sides[0] != sides[-1]:
        raise InputError(f"img_size must be a side in pixels, at least 1, or a pair of equal sides; got {img_size!r}")
    return sides[0]


@register_notrace_module  # its branch depends on the shape, so torch.fx takes it whole
class NearestResize(nn.Module):
    """Resizes images to a fixed square by nearest neighbor; images of that size pass unchanged.

    Args:
        size: Side in pixels.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return the images (B, C, H, W) as (B, C, size, size)."""
        return x if x.shape[-2:] == (self.size, self.size) else F.interpolate(x, self.size, mode="nearest")

    def extra_repr(self) -> str:
        return f"size={self.size}"

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class Subsample(nn.Module):
    """Keeps every `stride`-th row and column, as the original's max pooling with kernel 1 does.

    Args:
        stride: In pixels.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map (B, C, H, W) as (B, C, H / stride, W / stride)."""
        return x if self.stride == 1 else F.avg_pool2d(x, 1, self.stride)

    def extra_repr(self) -> str:
        return f"stride={self.stride}"

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...
