"""DDAMFN: a mixed feature network of depthwise kernels of several sizes, and heads of dual-direction attention.

Source: Zhang et al., A Dual-Direction Attention Mixed Feature Network for Facial Expression Recognition (Electronics
12(17), 2023). DDAMFN++ is the same network, trained otherwise.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F

from qcs.data.labels import CLASSES
from qcs.errors import InputError
from qcs.layers.resize import square_side
from qcs.losses.ddamfn import DDAMFNLoss, DDAMFNOutput
from qcs.models.peers.mobile import conv_norm, conv_norm_act
from qcs.models.peers.peer import PeerHead, PeerNetwork, create_peer, peer_cfg
from qcs.typed_call import same_signature

WIDTH = 512
REDUCTION = 16  # pixels of an image per pixel of the last map


class DirectionGates(nn.Module):
    """Gates for rows and for columns from strips that each hold one direction of a feature map.

    Args:
        dim: Channels C of the strips.
        width: Channels inside.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(OrderedDict(conv=nn.Conv2d(dim, width, 1), norm=nn.BatchNorm2d(width)))
        self.rows = nn.Conv2d(width, dim, 1)
        self.columns = nn.Conv2d(width, dim, 1)

    def forward(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Return gates in (0, 1), shapes (B, C, H, 1) and (B, C, 1, W), of strips of the same shapes."""
        joint = F.hardswish(self.reduce(torch.cat([rows, columns.mT], dim=2)))
        by_row, by_column = torch.split(joint, [rows.shape[2], columns.shape[3]], dim=2)
        return torch.sigmoid(self.rows(by_row)), torch.sigmoid(self.columns(by_column)).mT

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class CoordinateAttention(nn.Module):
    """Scales a feature map by gates of its rows and of its columns.

    Args:
        dim: Channels C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gates = DirectionGates(dim, max(8, dim // 32))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled feature map (B, C, H, W)."""
        rows, columns = self.gates(x.mean(3, keepdim=True), x.mean(2, keepdim=True))
        return x * rows * columns

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class MixedDepthwise(nn.Module):
    """Convolves each channel by itself, with kernels of another size in each group of channels.

    Neither norm nor activation follows: the published layer holds both and applies neither.

    Args:
        splits: Channels of each group.
        kernels: Side of each group's kernel, in pixels.
        stride: In pixels.
    """

    def __init__(self, splits: Sequence[int], kernels: Sequence[int], stride: int) -> None:
        super().__init__()
        self.splits = list(splits)
        self.convs = nn.ModuleList(
            nn.Conv2d(count, count, kernel, stride, kernel // 2, groups=count, bias=False)
            for count, kernel in zip(splits, kernels, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map (B, C, H, W) as (B, C, H / stride, W / stride)."""
        parts = zip(self.convs, torch.split(x, self.splits, dim=1), strict=True)
        return torch.cat([conv(part) for conv, part in parts], dim=1)

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class MixedUnit(nn.Module):
    """Widens, convolves with kernels of several sizes, attends to rows and columns, projects.

    Args:
        in_chs: Channels of the input.
        out_chs: Channels of the output.
        splits: Channels of each group inside.
        kernels: Side of each group's kernel, in pixels.
        stride: In pixels.
        residual: Whether to add the input.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        splits: Sequence[int],
        kernels: Sequence[int],
        stride: int = 1,
        residual: bool = False,
    ) -> None:
        super().__init__()
        width = sum(splits)
        self.residual = residual
        self.expand = conv_norm_act(in_chs, width)
        self.depthwise = MixedDepthwise(splits, kernels, stride)
        self.attention = CoordinateAttention(width)
        self.project = conv_norm(width, out_chs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map (B, in_chs, H, W) as (B, out_chs, H / stride, W / stride)."""
        y: Tensor = self.project(self.attention(self.depthwise(self.expand(x))))
        return x + y if self.residual else y

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class DualDirectionAttention(nn.Module):
    """Computes an attention map from depthwise kernels as long as a row and as a column.

    Args:
        dim: Channels C.
        side: Side of the map, in pixels.
    """

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.along_rows = conv_norm(dim, dim, (1, side), groups=dim)
        self.along_columns = conv_norm(dim, dim, (side, 1), groups=dim)
        self.gates = DirectionGates(dim, max(8, dim // 32))

    def forward(self, x: Tensor) -> Tensor:
        """Return the attention (B, C, H, W), in (0, 1), of a feature map (B, C, H, W)."""
        rows, columns = self.gates(self.along_rows(x), self.along_columns(x))
        return rows * columns

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class DDAMFNHead(PeerHead):
    """Scales the feature map by the largest attention of any head, pools it by a kernel of its size, classifies."""

    def __init__(self, dim: int, side: int, num_classes: int, num_heads: int, drop_rate: float) -> None:
        super().__init__()
        self.dim = dim
        self.heads = nn.ModuleList(DualDirectionAttention(dim, side) for _ in range(num_heads))
        self.pool = conv_norm(dim, dim, side, groups=dim)
        self.drop = nn.Dropout(drop_rate)
        self.reset(num_classes)

    def reset(self, num_classes: int) -> None:
        self.fc = nn.Linear(self.dim, num_classes) if num_classes else nn.Identity()

    def attention(self, x: Tensor) -> Tensor:
        """Return the attention maps (B, heads, C, H, W) of a feature map (B, C, H, W)."""
        return torch.stack([head(x) for head in self.heads], dim=1)

    def classify(self, x: Tensor, attention: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, classes) of a feature map (B, C, H, W) and its attention, or the descriptor (B, C)."""
        descriptor = self.drop(self.pool(x * attention.amax(1)).flatten(1))
        return descriptor if pre_logits else self.fc(descriptor)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, classes) of a feature map (B, C, H, W), or the descriptor (B, C)."""
        return self.classify(x, self.attention(x), pre_logits)

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class DDAMFN(PeerNetwork):
    """Classifies by a mixed feature network and heads of dual-direction attention.

    Args:
        num_classes: Number of classes; 0 returns the descriptor.
        in_chans: Channels of the images.
        img_size: Side of the images in pixels, a multiple of 16, or a pair of equal sides; sets the head's kernels.
        num_heads: Attention heads.
        drop_rate: Dropout before the classifier, a probability.

    Raises:
        InputError: If the side of the images is not a multiple of 16.

    Example:
        >>> import qcs, torch
        >>> model = qcs.create_model("ddamfn").eval()
        >>> model(torch.randn(1, 3, 112, 112)).shape
        torch.Size([1, 7])
    """

    def __init__(
        self,
        num_classes: int = 7,
        in_chans: int = 3,
        img_size: int | Sequence[int] = 112,
        num_heads: int = 2,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = WIDTH
        self.grad_checkpointing = False
        self.stem = conv_norm_act(in_chans, 64, 3, 2, 1)
        side = square_side(img_size)
        if side % REDUCTION:
            raise InputError(f"ddamfn takes images whose side is a multiple of {REDUCTION} pixels, got {side}")
        self.stages = nn.Sequential(
            nn.Sequential(
                conv_norm_act(64, 64, 3, 1, 1, groups=64),
                MixedUnit(64, 64, (64, 32, 32), (3, 5, 7), stride=2),
                *(MixedUnit(64, 64, (96, 32), (3, 5), residual=True) for _ in range(9)),
            ),
            nn.Sequential(
                MixedUnit(64, 128, (128, 64, 64), (3, 5, 7), stride=2),
                *(MixedUnit(128, 128, (192, 64), (3, 5), residual=True) for _ in range(16)),
            ),
            nn.Sequential(
                MixedUnit(128, 256, (256, 256, 256, 256), (3, 5, 7, 9), stride=2),
                *(MixedUnit(256, 256, (172, 170, 170), (3, 5, 7), residual=True) for _ in range(6)),
                conv_norm_act(256, WIDTH),
            ),
        )
        self.feature_info = [
            dict(num_chs=width, reduction=4 * 2**index, module=f"stages.{index}")
            for index, width in enumerate((64, 128, WIDTH))
        ]
        self.head = DDAMFNHead(WIDTH, side // REDUCTION, num_classes, num_heads, drop_rate)

    def forward_outputs(self, x: Tensor) -> DDAMFNOutput:
        """Return logits (B, classes) and attention maps of images (B, C, H, W)."""
        features = self.forward_features(x)
        attention = self.head.attention(features)
        return DDAMFNOutput(self.head.classify(features, attention), attention)

    def objective(self, class_counts: Tensor | None = None, **options: Any) -> DDAMFNLoss:
        """Return a fresh objective; `options` are those of `DDAMFNLoss`."""
        return DDAMFNLoss(**options)


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return peer_cfg(
        input_size=(3, 112, 112),
        fixed_input_size=True,
        paper_ids="doi:10.3390/electronics12173595",
        paper_name="A Dual-Direction Attention Mixed Feature Network for Facial Expression Recognition",
        origin_url="https://github.com/SainingZhang/DDAMFN",
        license="none stated",
        **kwargs,
    )


default_cfgs = generate_default_cfgs(
    {
        # The published weights for RAF-DB number the classes as AffectNet does, not as RAF-DB's list.
        "ddamfn.raf_db": _cfg(label_names=CLASSES["affectnet7"]),
        "ddamfn.affectnet7": _cfg(label_names=CLASSES["affectnet7"]),
        "ddamfn.affectnet8": _cfg(num_classes=8, label_names=CLASSES["affectnet8"]),
    }
)


@register_model
def ddamfn(pretrained: bool = False, **kwargs: Any) -> DDAMFN:
    """Build DDAMFN, with two attention heads; DDAMFN++ is the same network."""
    return create_peer(DDAMFN, "ddamfn", pretrained, **kwargs)
