"""LNSU-Net: a Swin Transformer for faces of 112 pixels, trained to give flipped images flipped class heat maps.

Source: Zhang et al., Leave No Stone Unturned: Mine Extra Knowledge for Imbalanced Facial Expression Recognition
(NeurIPS 2023). The name is that of a later comparison; the paper describes a training method.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from timm.models import generate_default_cfgs, register_model
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from qcs.data.labels import CLASSES
from qcs.errors import InputError
from qcs.layers.resize import square_side
from qcs.losses.lnsu import RAF_DB_WEIGHTS, LNSULoss, LNSUOutput, balanced_weights
from qcs.models.peers.peer import PeerHead, PeerNetwork, create_peer, peer_cfg
from qcs.typed_call import same_signature

PATCH = 2
WINDOW = 7
MULTIPLE = 16  # of the side: patches, and three halvings


class HeatMapHead(PeerHead):
    """Normalizes a feature map, pools and classifies it; its weights also give a heat map for each class."""

    def __init__(self, dim: int, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.dim = dim
        self.norm = nn.LayerNorm(dim)
        self.drop = nn.Dropout(drop_rate)
        self.reset(num_classes)

    def reset(self, num_classes: int) -> None:
        self.fc = nn.Linear(self.dim, num_classes) if num_classes else nn.Identity()

    def classify(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, classes) and heat maps (B, classes, H, W) of a feature map (B, H, W, C).

        The heat maps leave the classifier without gradient and its bias out, as published.
        """
        x = self.norm(x)
        weight = self.fc.get_parameter("weight").detach()
        return self.fc(self.drop(x.mean((1, 2)))), torch.einsum("bhwc,kc->bkhw", x, weight)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, classes) of a feature map (B, H, W, C), or pooled features (B, C)."""
        pooled: Tensor = self.drop(self.norm(x).mean((1, 2)))
        return pooled if pre_logits else self.fc(pooled)

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class LNSUNet(PeerNetwork):
    """Classifies by Swin-T with patches of 2 pixels, for images of 112.

    Args:
        num_classes: Number of classes; 0 returns pooled features.
        in_chans: Channels of the images.
        img_size: Side of the images in pixels, a multiple of 16, or a pair of equal sides.
        drop_rate: Dropout before the classifier, a probability.
        drop_path_rate: Stochastic depth of the last block, a probability, growing linearly from 0 at the first.

    Raises:
        InputError: If the side of the images is no multiple of 16.

    Example:
        >>> import qcs, torch
        >>> model = qcs.create_model("lnsu_swin_tiny").eval()
        >>> model(torch.randn(1, 3, 112, 112)).shape
        torch.Size([1, 7])
    """

    def __init__(
        self,
        num_classes: int = 7,
        in_chans: int = 3,
        img_size: int | Sequence[int] = 112,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.grad_checkpointing = False
        side = square_side(img_size)
        if side % MULTIPLE:
            raise InputError(f"the side of the images must be a multiple of {MULTIPLE} pixels, got {side}")
        trunk = SwinTransformer(side, PATCH, in_chans, num_classes=0, window_size=WINDOW, drop_path_rate=drop_path_rate)
        self.stem, self.stages = trunk.patch_embed, trunk.layers
        self.num_features = self.head_hidden_size = trunk.num_features
        self.feature_info = [{**level, "module": f"stages.{index}"} for index, level in enumerate(trunk.feature_info)]
        self.head = HeatMapHead(self.num_features, num_classes, drop_rate)

    def forward_levels(self, x: Tensor, count: int) -> list[Tensor]:
        """Return the feature maps (B, C_stage, H, W) of the first `count` stages for images (B, C, H, W)."""
        return [level.permute(0, 3, 1, 2) for level in super().forward_levels(x, count)]

    def forward_outputs(self, x: Tensor) -> LNSUOutput:
        """Return logits (B, classes) and heat maps (B, classes, h, w) of images (B, C, H, W), and of flipped ones."""
        logits, heat_maps = self.head.classify(self.forward_features(torch.cat([x, x.flip(-1)])))
        return LNSUOutput(logits[: len(x)], heat_maps[: len(x)], heat_maps[len(x) :])

    def objective(
        self,
        class_counts: Tensor | None = None,
        class_weights: Sequence[float] | Literal["published"] | None = None,
        **options: Any,
    ) -> LNSULoss:
        """Return a fresh objective.

        Args:
            class_counts: Training images of each class, which give the class weights, see
                `qcs.losses.lnsu.balanced_weights`.
            class_weights: Weight of each class instead; `"published"` for those of the seven classes of RAF-DB.
            **options: Further options of `LNSULoss`.

        Raises:
            InputError: If neither counts nor weights are given, or the published weights are for other classes.
        """
        if class_weights == "published" and self.num_classes != len(RAF_DB_WEIGHTS):
            raise InputError(
                f"the published class weights are for {len(RAF_DB_WEIGHTS)} classes, this network has "
                f"{self.num_classes}: give class_counts, or class_weights as numbers"
            )
        if class_weights == "published":
            return LNSULoss(RAF_DB_WEIGHTS, **options)
        if class_weights is not None:
            return LNSULoss(tuple(map(float, class_weights)), **options)
        if class_counts is None:
            raise InputError("LNSU-Net weighs its classes: give class_counts, or class_weights='published' for RAF-DB")
        return LNSULoss(balanced_weights(class_counts), **options)


default_cfgs = generate_default_cfgs(
    {
        "lnsu_swin_tiny.raf_db": peer_cfg(
            input_size=(3, 112, 112),
            fixed_input_size=True,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            first_conv="stem.proj",
            label_names=CLASSES["raf_db"],
            paper_ids="NeurIPS 2023",
            paper_name="Leave No Stone Unturned: Mine Extra Knowledge for Imbalanced Facial Expression Recognition",
            origin_url="https://github.com/zyh-uaiaaaa/Mine-Extra-Knowledge",
            license="none stated",
        )
    }
)


@register_model
def lnsu_swin_tiny(pretrained: bool = False, **kwargs: Any) -> LNSUNet:
    """Build LNSU-Net on Swin-T."""
    return create_peer(LNSUNet, "lnsu_swin_tiny", pretrained, **kwargs)
