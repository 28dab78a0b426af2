"""MFER: ConvNeXt with an attention of dynamic and static keys, and classifiers of three widths.

Source: Xu et al., Multi-scale Facial Expression Recognition based on dynamic global and static local attention (IEEE
Transactions on Affective Computing, 2024). Built as far as it was published: without the feature loss of the paper, and
without trained weights, of which there are none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from timm.layers import trunc_normal_
from timm.models import generate_default_cfgs, register_model
from timm.models.convnext import ConvNeXt
from torch import Tensor, nn
from torch.nn import functional as F

from qcs.losses.mfer import MFERLoss
from qcs.models.peers.peer import PeerHead, PeerNetwork, create_peer, peer_cfg
from qcs.typed_call import same_signature

ATTENTION_STAGES = (2, 3)


class DynamicStaticAttention(nn.Module):
    """Weighs the tokens of each channel by a softmax of a local, static and a global, dynamic key; residual.

    Args:
        dim: Channels C.
        reduction: C over the width of the dynamic key's MLP.
    """

    def __init__(self, dim: int, reduction: int = 8) -> None:
        super().__init__()
        width = dim // reduction
        self.key = nn.Sequential(OrderedDict(fc1=nn.Linear(dim, width), act=nn.GELU(), fc2=nn.Linear(width, dim)))
        self.value = nn.Linear(dim, dim)
        self.local = nn.Conv2d(dim, dim, 7, padding=3)  # dense, as published: most of the network's parameters
        # Its bias cancels in the softmax, which leaves it without gradient.
        self.norm = nn.LayerNorm(dim)

    def attend(self, x: Tensor) -> Tensor:
        """Return what the attention adds (B, C, H, W) to a feature map (B, C, H, W)."""
        tokens = x.flatten(2).mT
        dynamic = self.key(tokens) * tokens
        static = self.norm(F.gelu(self.local(x)).flatten(2).mT)
        weights = (static + dynamic).softmax(1)
        return (weights * self.value(tokens)).mT.unflatten(2, x.shape[2:])

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map (B, C, H, W) with what the attention adds."""
        return x + self.attend(x)

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class MultiWidthHead(PeerHead):
    """Pools and normalizes a feature map, and sums the logits of classifiers that see half, 3/4 and all features."""

    def __init__(self, dim: int, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.widths = (dim // 2, dim * 3 // 4, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.drop = nn.Dropout(drop_rate)
        self.reset(num_classes)

    def reset(self, num_classes: int) -> None:
        widths = self.widths if num_classes else ()
        self.classifiers = nn.ModuleList(
            nn.Sequential(OrderedDict(fc1=nn.Linear(width, width), act=nn.GELU(), fc2=nn.Linear(width, num_classes)))
            for width in widths
        )

    @property
    def fc(self) -> nn.Module:  # type: ignore[override] # a part of `classifiers`, not one beside them
        """The last layer of the widest classifier; an identity without classes."""
        return self.classifiers[-1].get_submodule("fc2") if len(self.classifiers) else nn.Identity()

    def features(self, x: Tensor) -> Tensor:
        """Return pooled, normalized features (B, C) of a feature map (B, C, H, W)."""
        out: Tensor = self.drop(self.norm(x.mean((2, 3))))
        return out

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits (B, 3, classes) of each classifier for a feature map (B, C, H, W)."""
        features = self.features(x)
        pairs = zip(self.classifiers, self.widths, strict=True)
        return torch.stack([classifier(features[:, :width]) for classifier, width in pairs], dim=1)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return summed logits (B, classes) of a feature map (B, C, H, W), or pooled features (B, C)."""
        return self.logits(x).sum(1) if len(self.classifiers) and not pre_logits else self.features(x)

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class MFER(PeerNetwork):
    """Classifies by ConvNeXt with dynamic and static attention at the end of its last two stages.

    Args:
        num_classes: Number of classes; 0 returns pooled, normalized features.
        in_chans: Channels of the images.
        depths: Blocks per stage.
        widths: Channels per stage.
        drop_rate: Dropout before the classifiers, a probability.
        drop_path_rate: Stochastic depth of the last block, a probability, growing linearly from 0 at the first.

    Example:
        >>> import qcs, torch
        >>> model = qcs.create_model("mfer_convnext_base", depths=(1, 1, 1, 1), widths=(8, 16, 24, 32)).eval()
        >>> model(torch.randn(1, 3, 64, 64)).shape
        torch.Size([1, 7])
    """

    def __init__(
        self,
        num_classes: int = 7,
        in_chans: int = 3,
        depths: Sequence[int] = (3, 3, 27, 3),
        widths: Sequence[int] = (128, 256, 512, 1024),
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.25,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = widths[-1]
        self.grad_checkpointing = False
        trunk = ConvNeXt(
            in_chans, num_classes=0, depths=tuple(depths), dims=tuple(widths), drop_path_rate=drop_path_rate
        )
        self.stem, self.stages = trunk.stem, trunk.stages
        self.feature_info = trunk.feature_info
        for index in ATTENTION_STAGES:
            blocks: Any = self.stages[index].blocks
            blocks.append(DynamicStaticAttention(widths[index]))
        self.stages.apply(_init)
        self.head = MultiWidthHead(self.num_features, num_classes, drop_rate)

    def forward_outputs(self, x: Tensor) -> Tensor:
        """Return the logits (B, 3, classes) of the three classifiers for images (B, C, H, W)."""
        return self.head.logits(self.forward_features(x))

    def objective(self, class_counts: Tensor | None = None, **options: Any) -> MFERLoss:
        """Return a fresh objective, without the feature loss that was never published; `options` are `MFERLoss`'s."""
        return MFERLoss(**options)


def _init(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


default_cfgs = generate_default_cfgs(
    {
        "mfer_convnext_base.untrained": peer_cfg(
            first_conv="stem.0",
            classifier=tuple(f"head.classifiers.{index}.fc2" for index in (2, 1, 0)),
            paper_ids="IEEE Transactions on Affective Computing, 2024",
            paper_name="Multi-scale Facial Expression Recognition based on dynamic global and static local attention",
            origin_url="https://github.com/XuJ1E/MFER",
            license="mit",
        )
    }
)


@register_model
def mfer_convnext_base(pretrained: bool = False, **kwargs: Any) -> MFER:
    """Build MFER on ConvNeXt-Base."""
    return create_peer(MFER, "mfer_convnext_base", pretrained, **kwargs)
