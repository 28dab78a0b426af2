"""GSDNet: a face ResNet-50 with a classifier after each stage; in training the deeper ones teach the shallower ones.

Source: A gradual self distillation network with adaptive channel attention for facial expression
recognition (Applied Soft Computing, 2024).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

from qcs.losses.gsdnet import GSDNetLoss, GSDNetOutput
from qcs.models.peers.face_resnet import RESNET50_WIDTHS, resnet50_stage, resnet50_stem
from qcs.models.peers.peer import PeerHead, PeerNetwork, create_peer, peer_cfg
from qcs.typed_call import same_signature

FEATURES = 128


class AdaptiveChannelAttention(nn.Module):
    """Gates channels by their means and their maxima, each weighted by a number that it gives for the image.

    The weights are unbounded, as published.

    Args:
        dim: Channels C.
        reduction: C over the width inside.
    """

    def __init__(self, dim: int, reduction: int = 16) -> None:
        super().__init__()
        self.mlp = _mlp(dim, dim // reduction, dim)
        self.mean_weight = _mlp(dim, dim // reduction, 1)
        self.max_weight = _mlp(dim, dim // reduction, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated feature map (B, C, H, W)."""
        mean, most = x.mean((2, 3)), x.amax((2, 3))
        gate = self.mlp(mean) * self.mean_weight(mean) + self.mlp(most) * self.max_weight(most)
        return x * torch.sigmoid(gate)[..., None, None]

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class SideHead(PeerHead):
    """Describes a stage's feature map by attention and pooling, then gives logits and features to distill.

    Args:
        dim: Channels of the map; a convolution widens fewer than those of the last stage.
        num_classes: Number of classes.
        drop_rate: Dropout before the classifier, a probability.
    """

    def __init__(self, dim: int, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.dim = RESNET50_WIDTHS[-1]
        self.attention = AdaptiveChannelAttention(dim)
        self.widen: nn.Module = nn.Identity()
        if dim != self.dim:
            conv = nn.Conv2d(dim, self.dim, 1)
            self.widen = nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(self.dim), act=nn.ReLU()))
        self.drop = nn.Dropout(drop_rate)
        self.feature = nn.Linear(self.dim, FEATURES)
        self.reset(num_classes)

    def reset(self, num_classes: int) -> None:
        self.fc = nn.Linear(self.dim, num_classes) if num_classes else nn.Identity()

    def describe(self, x: Tensor) -> Tensor:
        """Return the descriptor (B, 2048) of a feature map (B, C, H, W)."""
        return self.widen(self.attention(x)).mean((2, 3))

    def classify(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, classes) and features (B, 128) of a feature map (B, C, H, W)."""
        descriptor = self.describe(x)
        return self.fc(self.drop(descriptor)), self.feature(descriptor)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, classes) of a feature map (B, C, H, W), or its descriptor (B, 2048)."""
        descriptor: Tensor = self.drop(self.describe(x))
        return descriptor if pre_logits else self.fc(descriptor)

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class GSDNet(PeerNetwork):
    """Classifies by the head after the last stage of ResNet-50; the others take part in training only.

    Args:
        num_classes: Number of classes; 0 returns the descriptor.
        in_chans: Channels of the images.
        drop_rate: Dropout before the classifiers, a probability.

    Example:
        >>> import qcs, torch
        >>> model = qcs.create_model("gsdnet_resnet50").eval()
        >>> model(torch.randn(1, 3, 64, 64)).shape
        torch.Size([1, 7])
    """

    training_only = ("sides",)

    def __init__(self, num_classes: int = 7, in_chans: int = 3, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = RESNET50_WIDTHS[-1]
        self.grad_checkpointing = False
        self.stem = resnet50_stem(in_chans)
        self.stages = nn.Sequential(*map(resnet50_stage, range(4)))
        self.feature_info = [
            dict(num_chs=width, reduction=4 * 2**index, module=f"stages.{index}")
            for index, width in enumerate(RESNET50_WIDTHS)
        ]
        self.sides = nn.ModuleList(SideHead(width, num_classes, drop_rate) for width in RESNET50_WIDTHS[:-1])
        self.head = SideHead(RESNET50_WIDTHS[-1], num_classes, drop_rate)
        self.apply(_init)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifiers of all heads by freshly initialized ones; 0 removes them."""
        super().reset_classifier(num_classes, global_pool)
        reference = next(self.parameters())
        side: Any
        for side in self.sides:
            side.reset(num_classes)
            side.to(reference.device, reference.dtype)

    def forward_outputs(self, x: Tensor) -> GSDNetOutput:
        """Return logits (B, 4, classes) and features (B, 4, 128) of images (B, C, H, W).

        Place 0 holds the sum over all four heads, not the first head alone: the published code adds them in place. In
        the objective, the student of the second head is therefore this sum.
        """
        levels = self.forward_levels(x, len(self.stages))
        heads = [head.classify(level) for head, level in zip((*self.sides, self.head), levels, strict=True)]
        logits, features = (torch.stack(parts, dim=1) for parts in zip(*heads, strict=True))
        return GSDNetOutput(_with_sum(logits), _with_sum(features))

    def objective(self, class_counts: Tensor | None = None, **options: Any) -> GSDNetLoss:
        """Return a fresh objective; `options` are those of `GSDNetLoss`."""
        return GSDNetLoss(**options)


def _with_sum(x: Tensor) -> Tensor:
    return torch.cat([x.sum(1, keepdim=True), x[:, 1:]], dim=1)


def _mlp(dim: int, width: int, out: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(fc1=nn.Linear(dim, width), act=nn.ReLU(), fc2=nn.Linear(width, out)))


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")


default_cfgs = generate_default_cfgs(
    {
        "gsdnet_resnet50.untrained": peer_cfg(
            classifier=("head.fc", "sides.0.fc", "sides.1.fc", "sides.2.fc"),
            paper_ids="Applied Soft Computing, 2024",
            paper_name=(
                "A gradual self distillation network with adaptive channel attention for facial expression recognition"
            ),
            origin_url="https://github.com/Emy-cv/GSDNet",
            license="none stated",
        )
    }
)


@register_model
def gsdnet_resnet50(pretrained: bool = False, **kwargs: Any) -> GSDNet:
    """Build GSDNet on ResNet-50."""
    return create_peer(GSDNet, "gsdnet_resnet50", pretrained, **kwargs)
