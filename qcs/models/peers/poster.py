"""POSTER: a pyramid of transformers that fuses image features of IR-50 with landmark features.

Source: Zheng et al., POSTER: A Pyramid Cross-Fusion Transformer Network for Facial Expression Recognition (arXiv
2204.04083).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, Mlp
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F

from qcs.data.labels import CLASSES
from qcs.layers.channel_gate import ChannelGate
from qcs.layers.resize import NearestResize
from qcs.losses.label_smoothing import ClassifierLoss
from qcs.models.ir import IRNet
from qcs.models.peers.mobilefacenet import SIDE, MobileFaceNet
from qcs.models.peers.peer import PeerHead, PeerNetwork, create_peer, peer_cfg
from qcs.typed_call import same_signature

DIM, GRID = 512, 7
TOKENS = GRID**2 + 1  # of the image and of the landmarks, each with its class token
HEADS = 8
EPS = 1e-6  # of all layer norms


class CrossFusionAttention(nn.Module):
    """Attends from one kind of tokens to another; the queries are the tokens themselves, without a projection."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, queries: Tensor) -> Tensor:
        """Return what the queries (B, N, C) attend to among the tokens (B, N, C), projected."""
        q = queries.reshape(*queries.shape[:2], HEADS, -1).transpose(1, 2)
        k, v = self.kv(x).unflatten(2, (2, HEADS, -1)).transpose(1, 3).unbind(2)
        y = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(y.transpose(1, 2).flatten(2))
        return out

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class FusionBlock(nn.Module):
    """Lets image and landmark tokens attend to each other, then mixes all tokens by a convolution over them.

    No residual connection goes around the mixing, as published.

    Args:
        dim: Channels C of the tokens.
        drop_path_rate: Stochastic depth, a probability.
        mix_tokens: Whether the mixing convolution is there.
    """

    def __init__(self, dim: int, drop_path_rate: float = 0.0, mix_tokens: bool = True) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(dim, EPS) for _ in range(4))
        self.attn_img, self.attn_lm = CrossFusionAttention(dim), CrossFusionAttention(dim)
        self.mlp1, self.mlp2 = Mlp(dim, 2 * dim), Mlp(dim, 2 * dim)
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate > 0 else nn.Identity()
        self.conv = nn.Conv1d(2 * TOKENS, 2 * TOKENS, 1) if mix_tokens else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens (B, 100, C): first those of the image, then those of the landmarks."""
        image, landmarks = x.chunk(2, dim=1)
        normed_image, normed_landmarks = self.norm1(x).chunk(2, dim=1)
        image = image + self.drop_path(self.attn_img(normed_image, normed_landmarks))
        image = image + self.drop_path(self.mlp1(self.norm2(image)))
        normed_image, normed_landmarks = self.norm3(x).chunk(2, dim=1)
        landmarks = landmarks + self.drop_path(self.attn_lm(normed_landmarks, normed_image))
        landmarks = landmarks + self.drop_path(self.mlp2(self.norm4(landmarks)))
        out: Tensor = self.conv(torch.cat([image, landmarks], dim=1))
        return out

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class PyramidBlock(nn.Module):
    """A fusion block for each width of the tokens, then a merge from the smallest width to the largest.

    Args:
        drop_path_rate: Stochastic depth, a probability.
        mix_tokens: Whether the fusion blocks mix tokens.
    """

    def __init__(self, drop_path_rate: float, mix_tokens: bool) -> None:
        super().__init__()
        self.block_l, self.block_m, self.block_s = (
            FusionBlock(dim, drop_path_rate, mix_tokens) for dim in (DIM, DIM // 2, DIM // 4)
        )
        self.upsample_m, self.upsample_s = (nn.ConvTranspose1d(2 * TOKENS, 2 * TOKENS, 2, 2) for _ in range(2))

    def forward(self, large: Tensor, medium: Tensor, small: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the tokens (B, 100, C), (B, 100, C / 2) and (B, 100, C / 4) of each width."""
        small = self.block_s(small)
        medium = self.block_m(medium) + self.upsample_s(small)
        large = self.block_l(large) + self.upsample_m(medium)
        return large, medium, small

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class PyramidFusion(nn.Module):
    """Fuses image and landmark tokens in blocks of three widths; the pyramid halves features, not space.

    Args:
        depth: Number of blocks.
        drop_path_rate: Stochastic depth of the last block, a probability, growing linearly from 0 at the first.
        mix_tokens: Whether the fusion blocks mix tokens.
    """

    def __init__(self, depth: int, drop_path_rate: float, mix_tokens: bool) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, TOKENS, DIM))  # of the image tokens alone, as published
        self.downsample_m = nn.Conv1d(2 * TOKENS, 2 * TOKENS, 2, 2)
        self.downsample_s = nn.Conv1d(2 * TOKENS, 2 * TOKENS, 4, 4)
        rates = [drop_path_rate * index / max(depth - 1, 1) for index in range(depth)]
        self.blocks = nn.ModuleList(PyramidBlock(rate, mix_tokens) for rate in rates)
        self.norm = nn.LayerNorm(DIM, EPS)

    def forward(self, image: Tensor, landmarks: Tensor) -> Tensor:
        """Return the normalized tokens (B, 100, C), the image's class token first, of two kinds of tokens (B, 49, C).

        The mean of each kind takes the place of a learned class token.
        """
        image, landmarks = (torch.cat([x.mean(1, keepdim=True), x], dim=1) for x in (image, landmarks))
        large = torch.cat([image + self.pos_embed, landmarks], dim=1)
        medium, small = self.downsample_m(large), self.downsample_s(large)
        for block in self.blocks:
            large, medium, small = block(large, medium, small)
        out: Tensor = self.norm(large)
        return out

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class GatedHead(PeerHead):
    """Gates the class token by itself and classifies it."""

    def __init__(self, dim: int, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.dim = dim
        self.gate = ChannelGate(dim)
        self.drop = nn.Dropout(drop_rate)
        self.reset(num_classes)

    def reset(self, num_classes: int) -> None:
        self.fc = nn.Linear(self.dim, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, classes) of tokens (B, N, C), or the gated class token (B, C)."""
        gated: Tensor = self.drop(self.gate(x[:, 0]))
        return gated if pre_logits else self.fc(gated)

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class Poster(PeerNetwork):
    """Classifies by image features of IR-50 and landmark features, fused by a pyramid of transformers.

    Args:
        num_classes: Number of classes; 0 returns the gated class token.
        in_chans: Channels of the images, which are resized to 112 pixels by nearest neighbor.
        depth: Blocks of the pyramid.
        mix_tokens: Whether the fusion blocks mix tokens; the published networks for AffectNet do not.
        reverse_channels: Whether to reverse the channels of the images, RGB to BGR.
        drop_rate: Dropout before the classifier, a probability.
        drop_path_rate: Stochastic depth of the last block, a probability, growing linearly from 0 at the first.

    Example:
        >>> import qcs, torch
        >>> model = qcs.create_model("poster_ir50_small").eval()
        >>> model(torch.randn(1, 3, 112, 112)).shape
        torch.Size([1, 7])
    """

    after_stages = ("landmarks", "project", "fuse")

    def __init__(
        self,
        num_classes: int = 7,
        in_chans: int = 3,
        depth: int = 8,
        mix_tokens: bool = True,
        reverse_channels: bool = False,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_classes, self.reverse_channels = num_classes, reverse_channels
        self.num_features = self.head_hidden_size = DIM
        self.grad_checkpointing = False
        self.resize = NearestResize(SIDE)
        backbone = IRNet(in_chans=in_chans, num_classes=0)
        self.stem, self.stages = backbone.stem, backbone.stages
        self.feature_info = backbone.feature_info
        self.landmarks = MobileFaceNet(in_chans)
        # Its weights are frozen, but its batch norms follow the images in training, as published.
        self.landmarks.requires_grad_(False)
        self.project = nn.Linear(2 * DIM, DIM)
        self.fuse = PyramidFusion(depth, drop_path_rate, mix_tokens)
        self.head = GatedHead(DIM, num_classes, drop_rate)

    def _prepared(self, x: Tensor) -> Tensor:
        x = self.resize(x)
        return x.flip(1) if self.reverse_channels else x

    def forward_stem(self, x: Tensor) -> Tensor:
        """Return the first feature map of images (B, C, H, W), resized to 112 pixels."""
        out: Tensor = self.stem(self._prepared(x))
        return out

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the normalized tokens (B, 100, 512) of images (B, C, H, W), the class token first."""
        maps = super().forward_features(x)
        # As published, the memory of the 256 maps is cut into 49 pieces: a token is five maps and a part of a sixth at
        # all places, not all maps at one place. The weights depend on it.
        image = self.project(maps.reshape(-1, GRID**2, 2 * DIM))
        landmarks = self.landmarks(self._prepared(x)).high.flatten(2).mT
        return self.fuse(image, landmarks)

    def forward_outputs(self, x: Tensor) -> Tensor:
        """Return logits (B, classes) of images (B, C, H, W), all that the objective needs."""
        return self(x)

    def objective(self, class_counts: Tensor | None = None, **options: Any) -> ClassifierLoss:
        """Return a fresh objective: cross entropy, and twice the one with labels smoothed by 0.2.

        `options` of `ClassifierLoss` replace these.
        """
        return ClassifierLoss(**{"smoothed_weight": 2.0, "label_smoothing": 0.2, **options})


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return peer_cfg(
        paper_ids="arXiv:2204.04083",
        paper_name="POSTER: A Pyramid Cross-Fusion Transformer Network for Facial Expression Recognition",
        origin_url="https://github.com/zczcwh/POSTER",
        license="apache-2.0",
        **kwargs,
    )


# Published for RAF-DB, the network sees BGR planes that are normalized by the statistics of RGB. Reversed statistics
# for the RGB image, and reversed channels inside, give it the same numbers.
_BGR = dict(mean=IMAGENET_DEFAULT_MEAN[::-1], std=IMAGENET_DEFAULT_STD[::-1])
default_cfgs = generate_default_cfgs(
    {
        "poster_ir50.untrained": _cfg(),
        "poster_ir50.raf_db": _cfg(label_names=CLASSES["raf_db"], **_BGR),
        "poster_ir50.affectnet7": _cfg(label_names=CLASSES["affectnet7"]),
        "poster_ir50_base.untrained": _cfg(),
        "poster_ir50_small.untrained": _cfg(),
    }
)
OWN_ARGS: dict[str, dict[str, Any]] = {
    "poster_ir50.raf_db": dict(reverse_channels=True),
    "poster_ir50.affectnet7": dict(mix_tokens=False),
}


@register_model
def poster_ir50(pretrained: bool = False, **kwargs: Any) -> Poster:
    """Build POSTER, the published network of eight blocks."""
    return create_peer(Poster, "poster_ir50", pretrained, OWN_ARGS, **kwargs)


@register_model
def poster_ir50_base(pretrained: bool = False, **kwargs: Any) -> Poster:
    """Build POSTER with six blocks."""
    return create_peer(Poster, "poster_ir50_base", pretrained, **{"depth": 6, **kwargs})


@register_model
def poster_ir50_small(pretrained: bool = False, **kwargs: Any) -> Poster:
    """Build POSTER with four blocks."""
    return create_peer(Poster, "poster_ir50_small", pretrained, **{"depth": 4, **kwargs})
