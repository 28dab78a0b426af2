"""Compute the maps of a network that compares images, as arrays.

All maps come from the query-keys in the cross modules of the network. Nothing here needs matplotlib.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
from qcs.errors import InputError, check_choice
from qcs.layers import ScaledDotProductCrossAttention
from qcs.models import CrossSimilarityNetwork
from qcs.ops import reference

Array = npt.NDArray[np.float32]
Alignment = Literal["similarity", "dissimilarity"]
ALIGNMENTS: tuple[Alignment, ...] = ("similarity", "dissimilarity")


@dataclass(frozen=True)
class PairMaps:
    """Matrices over the tokens of two images at every level: rows are tokens of the first image, columns of the second.

    Attributes:
        distance: Euclidean distances (levels, Nq, Nk), from which cross similarity is computed.
        cosine: Cosines of the angles between tokens (levels, Nq, Nk), in [-1, 1].
        dot: Dot products divided by the square root of the channels (levels, Nq, Nk), as in scaled dot-product
            attention.
    """

    distance: Array
    cosine: Array
    dot: Array

    @cached_property
    def similarity(self) -> Array:
        """Largest distance of the level minus the distances (levels, Nq, Nk)."""
        return reference.similarity(torch.from_numpy(self.distance), "sample").numpy()

    @cached_property
    def dissimilarity(self) -> Array:
        """Distances minus the smallest distance of the level (levels, Nq, Nk)."""
        return reference.dissimilarity(torch.from_numpy(self.distance), "sample").numpy()

    def importance(self, alignment: Alignment = "similarity") -> tuple[Array, Array]:
        """Return the importance of each position of both images: the logits of the attention weights.

        Args:
            alignment: `"similarity"` or `"dissimilarity"` to the other image.

        Returns:
            Importance in the first image (levels, Nq) and in the second image (levels, Nk): v and u of the paper's
            Eq. 3-5.

        Raises:
            InputError: If the alignment is unknown.
        """
        check_choice("alignment", alignment, ALIGNMENTS)
        columns, rows = reference.importance(torch.from_numpy(getattr(self, alignment)))
        return rows.numpy(), columns.numpy()


class Comparison:
    """The query-keys of images in the cross modules of a network, and all maps between them; see `compare`.

    Attributes:
        query_keys: Query-keys (levels, n, N, C), float32.
        side: Side g of the token grid; N = g·g tokens, row by row.
    """

    def __init__(self, query_keys: Tensor, attention: list[Any]) -> None:
        self.query_keys = query_keys
        self.side = math.isqrt(query_keys.shape[2])
        self._attention = attention  # the attention layer of each level

    @property
    def branches(self) -> int:
        """Number of images that the network compares: 2 or 4."""
        branches: int = self._attention[0].branches
        return branches

    @property
    def levels(self) -> int:
        """Number of feature levels."""
        return self.query_keys.shape[0]

    def __len__(self) -> int:
        return self.query_keys.shape[1]

    def pair(self, rows: int, columns: int) -> PairMaps:
        """Compare two images, or one with itself, token by token.

        Args:
            rows: Index of the image whose tokens are the rows.
            columns: Index of the image whose tokens are the columns.
        """
        q, k = self.query_keys[:, rows], self.query_keys[:, columns]
        cosine = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT
        dot = q @ k.mT * q.shape[-1] ** -0.5
        return PairMaps(QF.euclidean_distance(q, k).numpy(), cosine.numpy(), dot.numpy())

    def heat_map(self, anchor: int, other: int, alignment: Alignment = "similarity") -> Array:
        """Return the attention that a single comparison gives an image, by similarity or dissimilarity.

        Args:
            anchor: Index of the image that the map is for.
            other: Index of the image it is compared with.
            alignment: `"similarity"` or `"dissimilarity"`.

        Returns:
            Map on the token grid (levels, g, g), in multiples of uniform attention: the mean of a level is 1.

        Raises:
            InputError: If the alignment is unknown.
        """
        _, importance = self.pair(other, anchor).importance(alignment)
        return self.grid(importance.shape[-1] * torch.from_numpy(importance).softmax(-1).numpy())

    def attention(self, *images: int) -> Array:
        """Return the attention weights of 2 or 4 images as the branches of the network.

        The images are a batch of their own. In a larger batch, a network with `scope="batch"` takes the largest and
        smallest distance over the whole batch, so its weights differ slightly. For scaled dot-product attention, the
        weight of a position is its mean over the positions of the other image.

        Args:
            images: Indices of the images, in the order anchor, positive, negative, second negative.

        Returns:
            Weights (levels, branches, N) that sum to 1 over N.

        Raises:
            InputError: If the number of images is not the number of branches, or the weights are not finite.
        """
        if len(images) != self.branches:
            names = ", ".join(BRANCHES[self.branches])
            raise InputError(f"this network compares {self.branches} images ({names}), got {len(images)}")
        return self._attend([[image] for image in images])[:, :, 0]

    def _attend(self, images: Sequence[Sequence[int]]) -> Array:
        """Return weights (levels, branches, B, N) of B separate comparisons, given image indices by branch."""
        levels = zip(self._attention, self.query_keys, strict=True)
        return np.stack([_weights(layer, query_keys[torch.tensor(images)]) for layer, query_keys in levels])

    def grid(self, tokens: Array) -> Array:
        """Arrange the values of tokens (..., N) on their grid (..., g, g)."""
        return tokens.reshape(*tokens.shape[:-1], self.side, self.side)


@torch.no_grad()
def compare(model: CrossSimilarityNetwork, images: Tensor) -> Comparison:
    """Compute the query-keys of images in the cross modules of a network, in evaluation mode.

    Args:
        model: A network with a cross part, dual or quadruplet.
        images: Any number of images (n, in_chans, H, W), prepared by `qcs.data.eval_transform`.

    Returns:
        A `Comparison` with all maps between the images, at every level.

    Raises:
        InputError: If the network has no cross part, the images do not fit it, or its query-keys are too large to
            compare.

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
    stacked = torch.stack(query_keys).float().cpu()
    if not (4 * stacked.square().sum(-1).amax()).isfinite():  # a distance is at most twice the longest token
        raise _not_finite()
    return Comparison(stacked, [module.attention for module in modules])


@torch.no_grad()
def features(model: CrossSimilarityNetwork, images: Tensor) -> Array:
    """Return the features (n, C) that the base classifier computes its logits from: the gated class token.

    Args:
        model: Any network; it is run in evaluation mode.
        images: Images (n, in_chans, H, W), prepared by `qcs.data.eval_transform`.

    Raises:
        InputError: If the images do not fit the network.

    Example:
        >>> import qcs, torch
        >>> from qcs.visualize import features
        >>> features(qcs.create_model("base_nano"), torch.randn(2, 3, 48, 48)).shape
        (2, 64)
    """
    pooled: Array = model.forward_head(base_tokens(model, images), pre_logits=True).float().cpu().numpy()
    return pooled


@torch.no_grad()
def base_tokens(model: CrossSimilarityNetwork, images: Tensor) -> Tensor:
    """Return class token and feature tokens (n, 1 + levels·N, C) of images (n, in_chans, H, W), in evaluation mode."""
    needs_tokens(model)
    was_training = model.training
    model.eval()
    try:
        model._check([images])
        return model.forward_features(images)
    finally:
        model.train(was_training)


def needs_tokens(model: object) -> None:
    """Raise `InputError` for a network of another kind than base, dcs and qcs."""
    if not isinstance(model, CrossSimilarityNetwork):
        raise InputError(
            f"{type(model).__name__} has no tokens to draw: give the weights of a base, dcs or qcs network"
        )


def needs_cross_part(model: CrossSimilarityNetwork) -> None:
    """Raise `InputError` for a network without a cross part."""
    if model.branches == 1:
        name = model.pretrained_cfg.get("architecture", "this network")
        kind = "base network" if isinstance(model, CrossSimilarityNetwork) else "network"
        raise InputError(
            f"{name} is a {kind} without a cross part and compares no images: give the weights of a qcs or dcs network"
        )


def mean_attention(
    compared: Comparison, labels: Sequence[int], shown: Sequence[int], *, comparisons: int = 32, seed: int = 0
) -> Array:
    """Average the attention of images over comparisons with random others, drawn as in training.

    Args:
        compared: The comparison of all images.
        labels: Class index of each image.
        shown: Indices of the images to return attention for.
        comparisons: Number of comparisons per image.
        seed: Seed of the random partner images.

    Returns:
        Weights (levels, len(shown), N) that sum to 1 over N.

    Raises:
        InputError: If a shown image is the only one of its class, or a quadruplet finds no other class with two images.

    Example:
        >>> import qcs, torch
        >>> from qcs.visualize import compare, mean_attention
        >>> compared = compare(qcs.create_model("qcs_nano"), torch.randn(6, 3, 48, 48))
        >>> mean_attention(compared, labels=[0, 0, 1, 1, 2, 2], shown=[0, 2]).shape
        (3, 2, 36)
    """
    draw, classes = np.random.default_rng(seed), np.asarray(labels)
    members = {label: np.flatnonzero(classes == label) for label in np.unique(classes).tolist()}
    pairs = [label for label, images in members.items() if len(images) > 1]

    def branches(anchor: int) -> list[int]:
        own = classes[anchor].item()
        others = [label for label in pairs if label != own]
        if own not in pairs or (compared.branches == 4 and not others):
            more = ", and another class of two images" if compared.branches == 4 else ""
            raise InputError(f"image {anchor} cannot be compared: that needs a second image of its class{more}")
        positive = int(draw.choice(members[own][members[own] != anchor]))
        if compared.branches == 2:
            return [anchor, positive]
        return [anchor, positive, *draw.choice(members[draw.choice(others)], 2, replace=False).tolist()]

    means = []
    for anchor in shown:
        drawn = [branches(anchor) for _ in range(comparisons)]
        means.append(compared._attend(list(zip(*drawn, strict=True)))[:, 0].mean(1))
    return np.stack(means, axis=1)


def upsample(maps: npt.ArrayLike, size: tuple[int, int]) -> Array:
    """Upsample maps on a token grid bicubically.

    Args:
        maps: Maps (..., g, g).
        size: Height and width in pixels.

    Returns:
        Maps (..., height, width).

    Raises:
        InputError: If the maps have fewer than two dimensions or no values.

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
    """Return attention weights (branches, B, N) for query-keys (branches, B, N, C) of B comparisons at one level."""
    if isinstance(layer, ScaledDotProductCrossAttention):
        map_a, map_p = QF.scaled_dot_product_maps(*query_keys)
        weights: Any = (map_p.mean(1), map_a.mean(1))  # the map of p weights the values of a
    elif layer.branches == 2:
        weights = QF.cross_similarity(*query_keys, scope="sample")
    else:
        a, p, n, n2 = query_keys
        gain = float(layer.gain)
        weights = QF.quadruplet_cross_similarity(a, p, n, n2, gain, matrices=layer.matrices, scope="sample")
    stacked = torch.stack(list(weights))
    if not stacked.isfinite().all():
        raise _not_finite()
    return stacked.numpy()


def _not_finite() -> InputError:
    return InputError(
        "the network compares images by values that are not finite: its weights hold values that are not finite or too "
        "large; load other weights"
    )
