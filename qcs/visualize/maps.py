"""The numbers behind the pictures: what a network computes when it compares images, as arrays.

No matplotlib here. Every map comes from the query-keys that the network's own cross modules compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from qcs import functional as QF
from qcs.branches import BRANCHES
from qcs.errors import InputError
from qcs.layers import ScaledDotProductCrossAttention
from qcs.models import CrossSimilarityNetwork
from qcs.ops import reference

Array = npt.NDArray[np.float32]
Alignment = Literal["similarity", "dissimilarity"]
ALIGNMENTS = ("similarity", "dissimilarity")


@dataclass(frozen=True)
class PairMaps:
    """Two images compared token by token at every level: rows are the first image's tokens, columns the second's.

    Attributes:
        distance: Euclidean distances (levels, Nq, Nk), what cross similarity is made of.
        cosine: Cosines of the angles between tokens (levels, Nq, Nk), in [-1, 1].
        dot: Dot products over the root of the channels (levels, Nq, Nk), what scaled-dot-product attention is made of.
    """

    distance: Array
    cosine: Array
    dot: Array

    @cached_property
    def similarity(self) -> Array:
        """The largest distance of the level minus the distances (levels, Nq, Nk)."""
        return reference.similarity(torch.from_numpy(self.distance), "sample").numpy()

    @cached_property
    def dissimilarity(self) -> Array:
        """The distances minus the smallest of the level (levels, Nq, Nk)."""
        return reference.dissimilarity(torch.from_numpy(self.distance), "sample").numpy()

    def importance(self, alignment: Alignment = "similarity") -> tuple[Array, Array]:
        """How much each position of both images counts, before softmax makes attention of it.

        Args:
            alignment: By `"similarity"` to the other image, or by `"dissimilarity"`.

        Returns:
            Of the rows' image (levels, Nq) and of the columns' image (levels, Nk): v and u of the paper's Eq. 3-5.

        Raises:
            InputError: If the alignment is unknown.
        """
        QF.check_option("alignment", alignment, ALIGNMENTS)
        columns, rows = reference.importance(torch.from_numpy(getattr(self, alignment)))
        return rows.numpy(), columns.numpy()


class Comparison:
    """Images as the cross modules of a network see them, to be compared two by two or as branches; see `compare`.

    Attributes:
        query_keys: What is compared (levels, n, N, C), float32.
        side: Side g of the token grid; N = g·g tokens, row by row.
    """

    def __init__(self, query_keys: Tensor, attention: list[Any]) -> None:
        self.query_keys = query_keys
        self.side = math.isqrt(query_keys.shape[2])
        self._attention = attention  # the attention layer of each level

    @property
    def levels(self) -> int:
        """Number of feature levels."""
        return self.query_keys.shape[0]

    def __len__(self) -> int:
        return self.query_keys.shape[1]

    def pair(self, rows: int, columns: int) -> PairMaps:
        """Two images, or one and itself, token by token.

        Args:
            rows: Number of the image whose tokens are the rows.
            columns: Number of the image whose tokens are the columns.
        """
        q, k = self.query_keys[:, rows], self.query_keys[:, columns]
        cosine = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT
        dot = q @ k.mT * q.shape[-1] ** -0.5
        return PairMaps(QF.euclidean_distance(q, k).numpy(), cosine.numpy(), dot.numpy())

    def heat_map(self, anchor: int, other: int, alignment: Alignment = "similarity") -> Array:
        """Where the anchor is like another image, or unlike it: the attention that this one comparison would give it.

        Args:
            anchor: Number of the image the map is of.
            other: Number of the image it is compared with.
            alignment: `"similarity"` or `"dissimilarity"`.

        Returns:
            On the token grid (levels, g, g), in multiples of uniform attention: the mean of a level is 1.

        Raises:
            InputError: If the alignment is unknown.
        """
        _, importance = self.pair(other, anchor).importance(alignment)
        return self.grid(importance.shape[-1] * torch.from_numpy(importance).softmax(-1).numpy())

    def attention(self, *images: int) -> Array:
        """The attention weights of 2 or 4 images as the branches of the network, compared by themselves.

        In a batch of more, a network with `scope="batch"` takes the largest and smallest distance over all of it, and
        its weights differ a little from these. Scaled-dot-product attention has a map over pairs of tokens; its weight
        of a position is what the other image's positions give it on average.

        Args:
            images: Their numbers, in the order anchor, positive, negative, second negative.

        Returns:
            (levels, branches, N); the weights of an image sum to 1 at every level.

        Raises:
            InputError: If there are not as many images as the network has branches.
        """
        branches = self._attention[0].branches
        if len(images) != branches:
            names = ", ".join(BRANCHES[branches])
            raise InputError(f"this network compares {branches} images ({names}), got {len(images)}")
        levels = zip(self._attention, self.query_keys, strict=True)
        return np.stack([_weights(layer, query_keys[list(images)]) for layer, query_keys in levels])

    def grid(self, tokens: Array) -> Array:
        """Values of an image's tokens (..., N) on their grid (..., g, g)."""
        return tokens.reshape(*tokens.shape[:-1], self.side, self.side)


@torch.no_grad()
def compare(model: CrossSimilarityNetwork, images: Tensor) -> Comparison:
    """Bring images to where the cross modules of a network compare them.

    Args:
        model: A network with a cross part, dual or quadruplet; it is run in evaluation mode.
        images: As many as wanted (n, in_chans, H, W), prepared by `qcs.data.eval_transform`.

    Returns:
        Their query-keys at every level, and all maps between any of them.

    Raises:
        InputError: If the network has no cross part, or the images do not fit it.

    Example:
        >>> import qcs, torch
        >>> from qcs.visualize import compare
        >>> compared = compare(qcs.create_model("qcs_nano"), torch.randn(4, 3, 48, 48))
        >>> compared.pair(0, 1).distance.shape, compared.attention(0, 1, 2, 3).shape, compared.heat_map(0, 2).shape
        ((3, 36, 36), (3, 4, 36), (3, 6, 6))
    """
    needs_cross_part(model)
    levels = base_tokens(model, images)[:, 1:].chunk(len(model.cross_modules), dim=1)
    modules: list[Any] = list(model.cross_modules)
    query_keys = [
        module.attention.project(module.norm1(level))[0][0] for module, level in zip(modules, levels, strict=True)
    ]
    return Comparison(torch.stack(query_keys).float().cpu(), [module.attention for module in modules])


@torch.no_grad()
def base_tokens(model: CrossSimilarityNetwork, images: Tensor) -> Tensor:
    """Class token and features (n, 1 + levels·N, C) of images (n, in_chans, H, W), in evaluation mode."""
    was_training = model.training
    model.eval()
    try:
        model._check([images], return_attention=False)
        return model.forward_features(images)
    finally:
        model.train(was_training)


def needs_cross_part(model: CrossSimilarityNetwork) -> None:
    """Refuse a network that compares nothing."""
    if model.branches == 1:
        name = model.pretrained_cfg.get("architecture", "this network")
        raise InputError(
            f"{name} is a base network without a cross part, it compares no images: give the weights of a qcs or dcs "
            "network"
        )


def upsample(maps: npt.ArrayLike, size: tuple[int, int]) -> Array:
    """Maps on a token grid at the resolution of an image, bicubically.

    Args:
        maps: (..., g, g).
        size: Height and width in pixels.

    Returns:
        (..., height, width).

    Raises:
        InputError: If there are no two dimensions to upsample.

    Example:
        >>> import numpy as np
        >>> from qcs.visualize import upsample
        >>> upsample(np.ones((3, 6, 6)), (48, 48)).shape
        (3, 48, 48)
    """
    values = np.asarray(maps, dtype=np.float32)
    if values.ndim < 2 or values.size == 0:
        raise InputError(f"maps have shape {values.shape}: expected (..., g, g)")
    stacked = torch.from_numpy(values.reshape(1, -1, *values.shape[-2:]))
    larger = F.interpolate(stacked, size, mode="bicubic", align_corners=False)
    return larger.reshape(*values.shape[:-2], *size).numpy()


@torch.no_grad()
def _weights(layer: Any, query_keys: Tensor) -> Array:
    """Attention weights (branches, N) of the query-keys (branches, N, C) of one comparison at one level."""
    branches = query_keys.unsqueeze(1)
    if isinstance(layer, ScaledDotProductCrossAttention):
        map_a, map_p = QF.scaled_dot_product_maps(*branches)
        weights: Any = (map_p.mean(1), map_a.mean(1))  # the values of a are weighted by the map of p
    elif layer.branches == 2:
        weights = QF.cross_similarity(*branches, backend=layer.backend)
    else:
        a, p, n, n2 = branches
        weights = QF.quadruplet_cross_similarity(
            a, p, n, n2, float(layer.gain), matrices=layer.matrices, backend=layer.backend
        )
    return torch.cat(list(weights)).numpy()
