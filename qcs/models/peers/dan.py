"""DAN: four heads of spatial and channel attention on a face ResNet-18.

Source: Wen et al., Distract Your Attention: Multi-Head Cross Attention Network for Facial Expression Recognition
(arXiv 2109.07270).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

from qcs.data.labels import CLASSES
from qcs.losses.dan import DANLoss, DANOutput
from qcs.models.peers.face_resnet import RESNET18_WIDTHS, kaiming_init, resnet18_stage, resnet18_stem
from qcs.models.peers.peer import PeerHead, PeerNetwork, create_peer, peer_cfg
from qcs.typed_call import same_signature


class SpatialAttention(nn.Module):
    """Scales a feature map by one number per pixel: the sum over channels of a small network's output, unbounded.

    Args:
        dim: Channels C of the map; half of them inside.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduce = _conv_norm(dim, dim // 2, (1, 1))
        self.square = _conv_norm(dim // 2, dim, (3, 3))
        self.rows = _conv_norm(dim // 2, dim, (1, 3))
        self.columns = _conv_norm(dim // 2, dim, (3, 1))

    def attention(self, x: Tensor) -> Tensor:
        """Return the attention (B, 1, H, W) of a feature map (B, C, H, W)."""
        y = self.reduce(x)
        y = torch.relu(self.square(y) + self.rows(y) + self.columns(y))
        return y.sum(1, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled feature map (B, C, H, W)."""
        return x * self.attention(x)

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class ChannelAttention(nn.Module):
    """Pools a feature map and gates each channel by a bottleneck of all of them.

    Args:
        dim: Channels C.
        reduction: C over the width of the bottleneck.
    """

    def __init__(self, dim: int, reduction: int = 16) -> None:
        super().__init__()
        width = dim // reduction
        self.gate = nn.Sequential(
            nn.Linear(dim, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, dim), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return gated features (B, C) of a map (B, C, H, W)."""
        pooled = x.mean((2, 3))
        return pooled * self.gate(pooled)

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class AttentionHead(nn.Sequential):
    """Spatial attention, then channel attention: a feature map (B, C, H, W) to features (B, C)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.spatial = SpatialAttention(dim)
        self.channel = ChannelAttention(dim)
        self.apply(_init)


class DANHead(PeerHead):
    """Runs the attention heads, weighs them against one another by a log-softmax, sums and classifies.

    A batch norm follows the classifier, as published: the logits depend on its running statistics.
    """

    def __init__(self, dim: int, num_classes: int, num_heads: int, drop_rate: float) -> None:
        super().__init__()
        self.dim = dim
        self.attention = nn.ModuleList(AttentionHead(dim) for _ in range(num_heads))
        self.drop = nn.Dropout(drop_rate)
        self.reset(num_classes)

    def reset(self, num_classes: int) -> None:
        self.fc = nn.Linear(self.dim, num_classes) if num_classes else nn.Identity()
        self.norm = nn.BatchNorm1d(num_classes) if num_classes else nn.Identity()

    def heads(self, x: Tensor) -> Tensor:
        """Return the features (B, heads, C) of a map (B, C, H, W), after the log-softmax over heads."""
        heads = torch.stack([head(x) for head in self.attention], dim=1)
        return heads.log_softmax(1) if len(self.attention) > 1 else heads

    def classify(self, heads: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, classes) of the heads' features (B, heads, C), or their sum (B, C)."""
        summed = self.drop(heads.sum(1))
        return summed if pre_logits else self.norm(self.fc(summed))

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, classes) of a feature map (B, C, H, W), or the summed features (B, C)."""
        return self.classify(self.heads(x), pre_logits)

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class DAN(PeerNetwork):
    """Classifies by the sum of attention heads on the last feature map of ResNet-18.

    Args:
        num_classes: Number of classes; 0 returns the summed features.
        in_chans: Channels of the images.
        num_heads: Attention heads.
        extra_centers: Class centers of the objective beyond one per class, see `qcs.losses.DANLoss`.
        drop_rate: Dropout before the classifier, a probability.

    Example:
        >>> import qcs, torch
        >>> model = qcs.create_model("dan_resnet18").eval()
        >>> model(torch.randn(1, 3, 64, 64)).shape
        torch.Size([1, 7])
    """

    def __init__(
        self,
        num_classes: int = 7,
        in_chans: int = 3,
        num_heads: int = 4,
        extra_centers: int = 0,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes, self.extra_centers = num_classes, extra_centers
        self.num_features = self.head_hidden_size = RESNET18_WIDTHS[-1]
        self.grad_checkpointing = False
        self.stem = resnet18_stem(in_chans)
        self.stages = nn.Sequential(*map(resnet18_stage, range(4)))
        self.feature_info = [
            dict(num_chs=width, reduction=4 * 2**index, module=f"stages.{index}")
            for index, width in enumerate(RESNET18_WIDTHS)
        ]
        self.head = DANHead(self.num_features, num_classes, num_heads, drop_rate)

    def forward_outputs(self, x: Tensor) -> DANOutput:
        """Return logits (B, classes), feature map and heads of images (B, C, H, W)."""
        features = self.forward_features(x)
        heads = self.head.heads(features)
        return DANOutput(self.head.classify(heads), features, heads)

    def objective(self, class_counts: Tensor | None = None, **options: Any) -> DANLoss:
        """Return a fresh objective, with random class centers; `options` are those of `DANLoss`."""
        return DANLoss(self.num_classes, self.num_features, **{"extra_centers": self.extra_centers, **options})


def _conv_norm(in_chs: int, out_chs: int, kernel: tuple[int, int]) -> nn.Sequential:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return nn.Sequential(nn.Conv2d(in_chs, out_chs, kernel, padding=padding), nn.BatchNorm2d(out_chs))


def _init(module: nn.Module) -> None:
    kaiming_init(module)
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.001)
        nn.init.zeros_(module.bias)


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return peer_cfg(
        paper_ids="arXiv:2109.07270",
        paper_name="Distract Your Attention: Multi-Head Cross Attention Network for Facial Expression Recognition",
        origin_url="https://github.com/yaoing/DAN",
        license="mit",
        **kwargs,
    )


default_cfgs = generate_default_cfgs(
    {
        "dan_resnet18.raf_db": _cfg(label_names=CLASSES["raf_db"]),
        "dan_resnet18.affectnet7": _cfg(label_names=CLASSES["affectnet7"]),
        "dan_resnet18.affectnet8": _cfg(num_classes=8, label_names=CLASSES["affectnet8"]),
    }
)
# The training script for RAF-DB keeps the default of eight centers with its seven classes.
OWN_ARGS: dict[str, dict[str, Any]] = {"dan_resnet18.raf_db": dict(extra_centers=1)}


@register_model
def dan_resnet18(pretrained: bool = False, **kwargs: Any) -> DAN:
    """Build DAN on ResNet-18, with four attention heads."""
    return create_peer(DAN, "dan_resnet18", pretrained, OWN_ARGS, **kwargs)
