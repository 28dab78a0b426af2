"""POSTER++ (POSTER V2): landmark features attend to the windows of three levels of image features.

Source: Mao et al., POSTER++: A simpler and stronger facial expression recognition network (arXiv 2301.12149).

Without landmarks it is the base network of Quadruplet Cross Similarity: `base_ir50` has the same parameters and
computes the same logits, and differs only in how the transformer is initialized.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from timm.layers import DropPath, Mlp, RelPosBias, trunc_normal_
from timm.models import generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.nn import functional as F

from qcs.data.labels import CLASSES
from qcs.errors import check_choice
from qcs.layers import TokenTransformer
from qcs.layers.level_tokens import LevelTokens
from qcs.layers.resize import NearestResize
from qcs.losses.label_smoothing import ClassifierLoss
from qcs.models.ir import IRNet
from qcs.models.peers.mobilefacenet import SIDE, MobileFaceNet
from qcs.models.peers.peer import PeerNetwork, create_peer, peer_cfg
from qcs.typed_call import same_signature

WIDTHS, SIDES = (64, 128, 256), (56, 28, 14)
GRID, DIM = 7, 768
HEADS = (2, 4, 8)


class LandmarkAttention(nn.Module):
    """Lets landmark features attend to a feature map in one window of its size, then applies an MLP.

    Neither query nor shortcut is what is usual: the query is the landmark map itself, without a projection, and the
    shortcut is the normalized map.

    Args:
        dim: Channels C of both maps.
        num_heads: Attention heads.
        side: Side of both maps, in pixels.
        drop_path_rate: Stochastic depth, a probability.
    """

    def __init__(self, dim: int, num_heads: int, side: int, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.position = RelPosBias((side, side), num_heads)
        self.proj = nn.Linear(dim, dim)
        self.gamma1 = nn.Parameter(torch.full((dim,), 1e-5))
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)
        self.gamma2 = nn.Parameter(torch.full((dim,), 1e-5))
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate > 0 else nn.Identity()

    def attend(self, x: Tensor, landmarks: Tensor) -> Tensor:
        """Return the projected attention (B, N, C) of landmark tokens (B, N, C) to image tokens (B, N, C)."""
        q = landmarks.reshape(*landmarks.shape[:2], self.num_heads, -1).transpose(1, 2)
        k, v = self.kv(x).unflatten(2, (2, self.num_heads, -1)).transpose(1, 3).unbind(2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.position.get_bias())
        out: Tensor = self.proj(y.transpose(1, 2).flatten(2))
        return out

    def forward(self, x: Tensor, landmarks: Tensor) -> Tensor:
        """Return the feature map (B, C, H, W) of an image map and a landmark map, both (B, C, H, W)."""
        tokens = self.norm1(x.flatten(2).mT)
        attended = self.attend(tokens, landmarks.flatten(2).mT)
        tokens = tokens + self.drop_path(self.gamma1 * attended)
        tokens = tokens + self.drop_path(self.gamma2 * self.mlp(self.norm2(tokens)))
        return tokens.mT.unflatten(2, x.shape[2:])

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class PosterV2(PeerNetwork):
    """Classifies by a transformer over tokens of three levels of IR-50, to which landmark features attend.

    Args:
        num_classes: Number of classes; 0 returns the gated class token.
        in_chans: Channels of the images, which are resized to 112 pixels by nearest neighbor.
        landmarks: Whether the frozen landmark network takes part; without it the tokens come from IR-50 alone.
        drop_rate: Dropout in the transformer, a probability.
        drop_path_rate: Stochastic depth of the third level's attention, a probability; half of it for the second.

    Example:
        >>> import qcs, torch
        >>> model = qcs.create_model("poster_v2_ir50").eval()
        >>> model(torch.randn(1, 3, 112, 112)).shape
        torch.Size([1, 7])
    """

    def __init__(
        self,
        num_classes: int = 7,
        in_chans: int = 3,
        landmarks: bool = True,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.25,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = DIM
        self.grad_checkpointing = False
        self.resize = NearestResize(SIDE)
        backbone = IRNet(in_chans=in_chans, num_classes=0)
        self.stem, self.stages = backbone.stem, backbone.stages
        self.feature_info = backbone.feature_info
        self.tokens = LevelTokens(WIDTHS, SIDES, GRID, DIM)
        self.landmarks = self.levels = None
        if landmarks:
            self.landmarks = MobileFaceNet(in_chans)
            # Its weights are frozen, but its batch norms follow the images in training, as published.
            self.landmarks.requires_grad_(False)
            self.landmark_conv = nn.Conv2d(512, WIDTHS[-1], 3, padding=1)
            self.levels = nn.ModuleList(
                LandmarkAttention(width, heads, side // 2, drop_path_rate * index / 2)
                for index, (width, heads, side) in enumerate(zip(WIDTHS, HEADS, SIDES, strict=True))
            )
            self.feature_info = [
                dict(num_chs=width, reduction=4 * 2**index, module=f"levels.{index}")
                for index, width in enumerate(WIDTHS)
            ]
        self.head = TokenTransformer(DIM, len(WIDTHS) * GRID**2, num_classes, depth=2, drop_rate=drop_rate)
        self.head.apply(_init)

    def get_classifier(self) -> nn.Module:
        """Return the linear head."""
        classifier: nn.Module = self.head.head
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a freshly initialized one; 0 removes it."""
        check_choice("global_pool", "published" if global_pool is None else global_pool, ("published",))
        self.num_classes = self.model_args["num_classes"] = num_classes
        self.name_classes(None)
        self.head.reset_classifier(num_classes)
        self.head.head.apply(_init)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove all after the levels, and return the positions of the chosen ones."""
        taken, last = feature_take_indices(len(self.feature_info), indices)
        if self.levels is None:
            self.stages = self.stages[: last + 1]
            self.tokens.reduce = nn.ModuleList()
        self.tokens.embed = nn.ModuleList()
        if prune_head:
            self.num_classes = 0
            self.head = nn.Identity()
        return list(taken)

    def forward_stem(self, x: Tensor) -> Tensor:
        """Return the first feature map of images (B, C, H, W), resized to 112 pixels."""
        out: Tensor = self.stem(self.resize(x))
        return out

    def forward_levels(self, x: Tensor, count: int = len(WIDTHS)) -> list[Tensor]:
        """Return the maps of the levels for images (B, C, H, W); without landmarks, those of the first stages."""
        stages = super().forward_levels(x, len(self.stages))
        if self.landmarks is None or self.levels is None:
            return stages[:count]
        low, middle, high = self.landmarks(self.resize(x))
        queries = (low, middle, self.landmark_conv(high))
        images = self.tokens.reduce_maps(stages)
        return [level(image, query) for level, image, query in zip(self.levels, images, queries, strict=True)][:count]

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the normalized tokens (B, 148, 768) of images (B, C, H, W), the class token first."""
        maps = self.forward_levels(x)
        tokens = self.tokens(maps) if self.levels is None else self.tokens.embed_maps(maps)
        out: Tensor = self.head.forward_features(tokens)
        return out

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, classes) of normalized tokens (B, 148, 768), or the gated class token (B, 768)."""
        out: Tensor = self.head.forward_head(x, pre_logits=pre_logits)
        return out

    def forward_outputs(self, x: Tensor) -> Tensor:
        """Return logits (B, classes) of images (B, C, H, W), all that the objective needs."""
        return self(x)

    def objective(self, class_counts: Tensor | None = None, **options: Any) -> ClassifierLoss:
        """Return a fresh objective: cross entropy, unless `options` of `ClassifierLoss` say otherwise."""
        return ClassifierLoss(**options)


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return peer_cfg(
        classifier="head.head",
        paper_ids="arXiv:2301.12149",
        paper_name="POSTER++: A simpler and stronger facial expression recognition network",
        origin_url="https://github.com/Talented-Q/POSTER_V2",
        license="mit",
        **kwargs,
    )


default_cfgs = generate_default_cfgs(
    {
        "poster_v2_ir50.raf_db": _cfg(label_names=CLASSES["raf_db"]),
        "poster_v2_ir50.untrained": _cfg(),
        "poster_v2_ir50_nolm.untrained": _cfg(),
    }
)


@register_model
def poster_v2_ir50(pretrained: bool = False, **kwargs: Any) -> PosterV2:
    """Build POSTER++ on IR-50 and a landmark network."""
    return create_peer(PosterV2, "poster_v2_ir50", pretrained, **kwargs)


@register_model
def poster_v2_ir50_nolm(pretrained: bool = False, **kwargs: Any) -> PosterV2:
    """Build POSTER++ without landmarks: the base network of Quadruplet Cross Similarity, see `base_ir50`."""
    return create_peer(PosterV2, "poster_v2_ir50_nolm", pretrained, **{"landmarks": False, **kwargs})
