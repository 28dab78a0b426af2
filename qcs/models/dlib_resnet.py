"""dlib's face recognition network: a residual backbone of 5.6 M parameters that was trained on faces.

Source: King, Dlib-ml (JMLR 2009), and the network of dlib's example `dnn_face_recognition_ex`. Its weights come with
the package `face-recognition-models`, see `qcs.models.dlib_file`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from timm.layers import ClassifierHead
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F

from qcs.models._builder import build
from qcs.models.dlib_file import converted_weights
from qcs.models.staged import StagedNetwork
from qcs.typed_call import same_signature

DEPTHS = (3, 4, 3, 3, 1)
WIDTHS = (32, 64, 128, 256, 256)
MEAN = (122.782 / 255, 117.001 / 255, 104.298 / 255)
FEATURE_STAGES = 4
"""Stages that are offered as feature maps; the last, of stride 64, only leads to the descriptor."""


class DlibUnit(nn.Module):
    """Residual unit conv, BN, ReLU, conv, BN; ReLU after the sum. The smaller summand is extended by zeros.

    Args:
        in_chs: Channels of the input.
        out_chs: Channels of the output.
        down: Whether to halve the map: convolution of stride 2 without padding, shortcut by average pooling.
    """

    def __init__(self, in_chs: int, out_chs: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv1 = nn.Conv2d(in_chs, out_chs, 3, 2 if down else 1, 0 if down else 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_chs)
        self.conv2 = nn.Conv2d(out_chs, out_chs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_chs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map (B, in_chs, H, W) as (B, out_chs, H, W), or half as high and wide."""
        residual = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if not self.down:
            return F.relu(x + residual)
        shortcut = F.avg_pool2d(x, 2)
        height, width = shortcut.shape[2:]  # at least those of the residual
        residual = F.pad(residual, (0, width - residual.shape[3], 0, height - residual.shape[2]))
        return F.relu(F.pad(shortcut, (0, 0, 0, 0, 0, residual.shape[1] - shortcut.shape[1])) + residual)

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class DlibResNet(StagedNetwork):
    """Computes dlib's face descriptor, or feature maps of strides 4, 8, 16 and 32.

    Batch norms take the place of dlib's affine layers. The second to fourth maps have a common grid for images of 104
    or 136 pixels.

    Args:
        in_chans: Channels of the images.
        num_classes: Outputs of the linear head: 128 for the descriptor; 0 for none.
        global_pool: Pooling before the head, a name of timm's; empty for none.
        drop_rate: Dropout before the head, a probability.
        resize: Side in pixels that images are resized to first, by bilinear interpolation; None keeps their size. The
            strides are those in the resized image.

    Example:
        >>> import timm, torch, qcs
        >>> backbone = timm.create_model("dlib_resnet29", features_only=True)
        >>> [tuple(x.shape) for x in backbone(torch.randn(1, 3, 104, 104))]
        [(1, 64, 12, 12), (1, 128, 6, 6), (1, 256, 3, 3)]
    """

    def __init__(
        self,
        in_chans: int = 3,
        num_classes: int = 128,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        resize: int | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = WIDTHS[-1]
        self.grad_checkpointing = False
        conv = nn.Conv2d(in_chans, WIDTHS[0], 7, 2, bias=False)
        stem: OrderedDict[str, nn.Module] = OrderedDict(
            conv=conv, norm=nn.BatchNorm2d(WIDTHS[0]), act=nn.ReLU(), pool=nn.MaxPool2d(3, 2)
        )
        if resize is not None:
            stem["resize"] = nn.Upsample(size=(resize, resize), mode="bilinear")
            stem.move_to_end("resize", last=False)
        self.stem = nn.Sequential(stem)
        self.stages = nn.Sequential()
        self.feature_info = []
        before = WIDTHS[0]
        for index, (depth, width) in enumerate(zip(DEPTHS, WIDTHS, strict=True)):
            first = DlibUnit(before, width, down=index > 0)
            self.stages.append(nn.Sequential(first, *(DlibUnit(width, width, down=False) for _ in range(depth - 1))))
            before = width
            if index < FEATURE_STAGES:
                self.feature_info.append(dict(num_chs=width, reduction=4 * 2**index, module=f"stages.{index}"))
        self.head = ClassifierHead(WIDTHS[-1], num_classes, pool_type=global_pool, drop_rate=drop_rate)


default_cfgs = generate_default_cfgs(
    {
        "dlib_resnet29.faces": {
            "num_classes": 128,
            "input_size": (3, 150, 150),
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "squash",
            "mean": MEAN,
            "std": (1.0, 1.0, 1.0),
            "first_conv": "stem.conv",
            "classifier": "head.fc",
            "paper_name": "Dlib-ml: A Machine Learning Toolkit",
            "paper_ids": "JMLR 10(60):1755-1758, 2009",
            "license": "CC0-1.0 for the file; its training images were collected from the web, VGG-Face among them",
        }
    }
)


@register_model
def dlib_resnet29(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build dlib's face recognition network; `pretrained=True` needs the extra `face-backbone`."""
    cfg = kwargs.get("pretrained_cfg")
    if pretrained and (cfg is None or isinstance(cfg, str)):  # otherwise the caller names the weights
        overlay = dict(kwargs.get("pretrained_cfg_overlay") or {})
        if not overlay.keys() & {"file", "hf_hub_id"}:
            overlay["file"] = str(converted_weights())
        kwargs["pretrained_cfg_overlay"] = overlay
    features = dict(feature_cls="getter", out_indices=(-3, -2, -1))
    return build(DlibResNet, "dlib_resnet29", pretrained, feature_cfg=features, **kwargs)
