"""Improved residual (IR) backbones of face recognition: `ir50`, its first three stages, and the small `ir_nano`.

Source: ArcFace (Deng et al., CVPR 2019, arXiv 1801.07698), whose IR-50 network trained on faces QCS starts from.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import ClassifierHead, DropPath
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

from qcs.layers.resize import NearestResize, Subsample, square_side
from qcs.models._builder import build
from qcs.models.staged import StagedNetwork
from qcs.typed_call import same_signature


class IRUnit(nn.Module):
    """Residual unit BN, conv, PReLU, conv (with the stride), BN; nothing after the sum.

    Args:
        in_chs: Channels of the input.
        out_chs: Channels of the output.
        stride: Stride of the second convolution and of the shortcut, in pixels.
        drop_path_rate: Stochastic depth: probability that a sample skips the unit.
    """

    def __init__(self, in_chs: int, out_chs: int, stride: int, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.shortcut: nn.Module
        if in_chs == out_chs:
            self.shortcut = Subsample(stride)
        else:
            conv = nn.Conv2d(in_chs, out_chs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(out_chs)))
        self.norm1 = nn.BatchNorm2d(in_chs)
        self.conv1 = nn.Conv2d(in_chs, out_chs, 3, 1, 1, bias=False)
        self.act = nn.PReLU(out_chs)
        self.conv2 = nn.Conv2d(out_chs, out_chs, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_chs)
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map (B, in_chs, H, W) as (B, out_chs, H / stride, W / stride)."""
        residual: Tensor = self.drop_path(self.norm2(self.conv2(self.act(self.conv1(self.norm1(x))))))
        return self.shortcut(x) + residual

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class IRNet(StagedNetwork):
    """Computes a stem, then stages of residual units; the first unit of a stage has the stage's stride.

    Args:
        depths: Units per stage.
        widths: Channels per stage.
        strides: Stride per stage, in pixels.
        stem_width: Channels of the stem.
        stem_stride: Stride of the stem, in pixels.
        img_size: Side in pixels of the images inside the network, or a pair of equal sides; images of other sizes are
            resized by nearest neighbor, as published.
        in_chans: Channels of the images.
        num_classes: Classes of the linear head; 0 for none.
        global_pool: Pooling before the head, a name of timm's; empty for none.
        drop_rate: Dropout before the head, a probability.
        drop_path_rate: Stochastic depth: probability that a sample skips the last unit, growing linearly from 0 at the
            first.

    Raises:
        InputError: If `img_size` is no square.

    Example:
        >>> import timm, torch, qcs
        >>> backbone = timm.create_model("ir50", features_only=True)
        >>> [tuple(x.shape) for x in backbone(torch.randn(1, 3, 224, 224))]
        [(1, 64, 56, 56), (1, 128, 28, 28), (1, 256, 14, 14)]
    """

    def __init__(
        self,
        depths: Sequence[int] = (3, 4, 14),
        widths: Sequence[int] = (64, 128, 256),
        strides: Sequence[int] = (2, 2, 2),
        stem_width: int = 64,
        stem_stride: int = 1,
        img_size: int | Sequence[int] = 112,
        in_chans: int = 3,
        num_classes: int = 7,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = widths[-1]
        # What weights files state, so that they do not depend on the defaults of a registered name.
        self.architecture: dict[str, Any] = dict(
            depths=[*depths], widths=[*widths], strides=[*strides], stem_width=stem_width, stem_stride=stem_stride
        )
        self.grad_checkpointing = False
        self.resize = NearestResize(square_side(img_size))
        conv = nn.Conv2d(in_chans, stem_width, 3, stem_stride, 1, bias=False)
        self.stem = nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(stem_width), act=nn.PReLU(stem_width)))
        self.stages = nn.Sequential()
        self.feature_info = []
        before, reduction = stem_width, stem_stride
        last = max(sum(depths) - 1, 1)
        rates = iter([drop_path_rate * index / last for index in range(sum(depths))])
        for index, (depth, width, stride) in enumerate(zip(depths, widths, strides, strict=True)):
            shapes = [(before, width, stride), *[(width, width, 1)] * (depth - 1)]
            self.stages.append(nn.Sequential(*(IRUnit(*shape, next(rates)) for shape in shapes)))
            before, reduction = width, reduction * stride
            self.feature_info.append(dict(num_chs=width, reduction=reduction, module=f"stages.{index}"))
        self.head = ClassifierHead(widths[-1], num_classes, pool_type=global_pool, drop_rate=drop_rate)

    def forward_stem(self, x: Tensor) -> Tensor:
        """Return the first feature map of images (B, C, H, W), resized to the size of the network."""
        out: Tensor = self.stem(self.resize(x))
        return out


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        "num_classes": 7,
        "input_size": (3, 224, 224),
        "fixed_input_size": True,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stem.conv",
        "classifier": "head.fc",
        "paper_ids": "arXiv:1801.07698",
        "paper_name": "ArcFace: Additive Angular Margin Loss for Deep Face Recognition",
        **kwargs,
    }


SMALL: dict[str, Any] = dict(depths=(2, 2, 2, 2), widths=(32, 64, 128, 256), strides=(2, 2, 2, 1), stem_width=32)
NANO: dict[str, Any] = dict(depths=(1, 1, 1), widths=(32, 64, 128), strides=(2, 1, 2), stem_width=32, stem_stride=2)

default_cfgs = generate_default_cfgs(
    {
        "ir50.untrained": _cfg(),
        "ir_small.untrained": _cfg(input_size=(3, 48, 48)),
        "ir_nano.untrained": _cfg(input_size=(3, 48, 48)),
    }
)


def _create_ir(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    features = dict(feature_cls="getter", out_indices=(-3, -2, -1))
    return build(IRNet, variant, pretrained, feature_cfg=features, **kwargs)


@register_model
def ir50(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build the first three stages of IR-50 (ArcFace); it resizes images of any size to 112 pixels."""
    return _create_ir("ir50", pretrained, **{"img_size": 112, **kwargs})


@register_model
def ir_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build an IR network of four stages for 48-pixel faces; its feature maps are those of the last three."""
    return _create_ir("ir_small", pretrained, **{**SMALL, "img_size": 48, **kwargs})


@register_model
def ir_nano(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build a small IR network for 48-pixel faces that trains on two CPU cores."""
    return _create_ir("ir_nano", pretrained, **{**NANO, "img_size": 48, **kwargs})
