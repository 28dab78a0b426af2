"""Ada-DF: two branches on the stem of a face ResNet-18; one estimates label distributions, the other learns them.

Source: Liu et al., A Dual-Branch Adaptive Distribution Fusion Framework for Real-World Facial Expression Recognition
(ICASSP 2023).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

from qcs.data.labels import CLASSES
from qcs.losses.ada_df import AdaDFLoss, AdaDFOutput
from qcs.models.peers.face_resnet import RESNET18_WIDTHS, resnet18_stage, resnet18_stem
from qcs.models.peers.peer import PeerHead, PeerNetwork, create_peer, peer_cfg
from qcs.typed_call import same_signature


class AttentiveHead(PeerHead):
    """Pools a feature map, classifies it and scales its logits by an attention in (0, 1), one per image."""

    def __init__(self, dim: int, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.dim = dim
        self.gate = nn.Linear(dim, 1)
        self.drop = nn.Dropout(drop_rate)
        self.reset(num_classes)

    def reset(self, num_classes: int) -> None:
        self.fc = nn.Linear(self.dim, num_classes) if num_classes else nn.Identity()

    def classify(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scaled logits (B, classes) and attention (B, 1) of a feature map (B, C, H, W)."""
        pooled = x.mean((2, 3))
        attention = torch.sigmoid(self.gate(pooled))
        return attention * self.fc(self.drop(pooled)), attention

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return scaled logits (B, classes) of a feature map (B, C, H, W), or pooled features (B, C)."""
        if pre_logits or isinstance(self.fc, nn.Identity):
            return x.mean((2, 3))
        return self.classify(x)[0]

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class Branch(nn.Module):
    """The last three stages of ResNet-18 and a head with attention."""

    def __init__(self, stages: nn.Sequential, head: AttentiveHead) -> None:
        super().__init__()
        self.stages = stages
        self.head = head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scaled logits (B, classes) and attention (B, 1) of a feature map (B, C, H, W)."""
        return self.head.classify(self.stages(x))

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class AdaDF(PeerNetwork):
    """Classifies by ResNet-18 with an attention that scales the logits; training runs an auxiliary branch beside it.

    Stem and first stage are frozen, but their batch norms follow the images in training, as published.

    Args:
        num_classes: Number of classes; 0 returns pooled features.
        in_chans: Channels of the images.
        freeze_stem: Whether stem and first stage get no gradient.
        drop_rate: Dropout before the classifiers, a probability.

    Example:
        >>> import qcs, torch
        >>> model = qcs.create_model("ada_df_resnet18").eval()
        >>> model(torch.randn(1, 3, 64, 64)).shape
        torch.Size([1, 7])
    """

    training_only = ("auxiliary",)

    def __init__(
        self, num_classes: int = 7, in_chans: int = 3, freeze_stem: bool = True, drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = RESNET18_WIDTHS[-1]
        self.grad_checkpointing = False
        self.stem = resnet18_stem(in_chans)
        self.stages = nn.Sequential(*map(resnet18_stage, range(4)))
        self.feature_info = [
            dict(num_chs=width, reduction=4 * 2**index, module=f"stages.{index}")
            for index, width in enumerate(RESNET18_WIDTHS)
        ]
        self.head = AttentiveHead(self.num_features, num_classes, drop_rate)
        auxiliary = AttentiveHead(self.num_features, num_classes, drop_rate)
        auxiliary.fc.load_state_dict(self.head.fc.state_dict())  # both branches start equal, their attention apart
        self.auxiliary = Branch(copy.deepcopy(self.stages[1:]), auxiliary)
        if freeze_stem:
            self.stem.requires_grad_(False)
            self.stages[0].requires_grad_(False)

    def trunk_loaded(self) -> int:
        """Copy the stages to the auxiliary branch, which starts equal; return the number of entries."""
        state = self.stages[1:].state_dict()
        self.auxiliary.stages.load_state_dict(state)
        return len(state)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifiers of both branches by freshly initialized, equal ones; 0 removes them."""
        super().reset_classifier(num_classes, global_pool)
        self.auxiliary.head.fc = copy.deepcopy(self.head.fc)

    def forward_outputs(self, x: Tensor) -> AdaDFOutput:
        """Return the logits (B, classes) of both branches and their attention (B, 1) for images (B, C, H, W)."""
        x = self._run_stage(self.stages[0], self.forward_stem(x))
        auxiliary, auxiliary_attention = self.auxiliary(x)
        for stage in self.stages[1:]:
            x = self._run_stage(stage, x)
        logits, attention = self.head.classify(x)
        return AdaDFOutput(logits, auxiliary, (auxiliary_attention + attention) / 2)

    def objective(self, class_counts: Tensor | None = None, **options: Any) -> AdaDFLoss:
        """Return a fresh objective, with the published settings for RAF-DB unless `options` of `AdaDFLoss` differ."""
        return AdaDFLoss(self.num_classes, **options)


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return peer_cfg(
        classifier=("head.fc", "auxiliary.head.fc"),
        paper_ids="ICASSP 2023",
        paper_name="A Dual-Branch Adaptive Distribution Fusion Framework for Real-World Facial Expression Recognition",
        origin_url="https://github.com/taylor-xy0827/Ada-DF",
        license="none stated",
        **kwargs,
    )


default_cfgs = generate_default_cfgs(
    {
        "ada_df_resnet18.untrained": _cfg(),
        "ada_df_resnet18.raf_db": _cfg(label_names=CLASSES["raf_db"]),
        "ada_df_resnet18.affectnet7": _cfg(label_names=CLASSES["affectnet7"]),
    }
)


@register_model
def ada_df_resnet18(pretrained: bool = False, **kwargs: Any) -> AdaDF:
    """Build Ada-DF on ResNet-18."""
    return create_peer(AdaDF, "ada_df_resnet18", pretrained, **kwargs)
