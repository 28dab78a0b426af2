"""Attention between images: projection, attention weights, weighted values.

No norm, residual or MLP: those belong to the cross modules built on these layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, overload

import torch
from torch import Tensor, nn

from qcs import functional as QF
from qcs.branches import Pair, Quadruplet, for_each_branch
from qcs.errors import InputError, check_choice
from qcs.functional import Backend, Masks, Matrices, Scope
from qcs.ops import choose
from qcs.typed_call import same_signature

GAMMA = 1.0  # the published constant in g = gamma + tanh(theta)


class ProjectedAttention(nn.Module):
    """Shared projection of every image to query-keys and values; subclasses define how the images attend."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim < 1:
            raise InputError(f"dim must be at least 1 channel, got {dim}")
        self.dim = dim
        self.proj = nn.Linear(dim, 2 * dim)

    def project(self, *tokens: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return query-keys and values (B, N, C) of every image: first and second half of the projected channels."""
        check_width(self.dim, tokens)
        projected = for_each_branch(self.proj, tokens)
        return [x[..., : self.dim] for x in projected], [x[..., self.dim :] for x in projected]


class CrossSimilarityAttention(ProjectedAttention):
    """Cross Similarity Attention of two images of one class (paper Sec. 3.2, Eq. 1-6).

    Weights each image's values at every position by the similarity of that position to the other image. The attended
    features of an image come from that image alone.

    Args:
        dim: Channels C of the tokens.
        scope: Where the largest distance is taken: the whole `"batch"` (as published), each `"sample"`, or the
            `"world"`, the batches of all processes together.
        backend: Implementation of the attention weights; None chooses.

    Raises:
        InputError: If an option is unknown, or `forward` gets tokens that do not fit.

    Example:
        >>> import torch
        >>> from qcs.layers import CrossSimilarityAttention
        >>> y_a, y_p = CrossSimilarityAttention(64)(torch.randn(2, 49, 64), torch.randn(2, 49, 64))
        >>> y_a.shape
        torch.Size([2, 49, 64])
    """

    branches = 2

    def __init__(self, dim: int, *, scope: Scope = "batch", backend: Backend | None = None) -> None:
        super().__init__(dim)
        check_choice("scope", scope, QF.SCOPES)
        choose(backend)  # refuse a backend that cannot run here, not in the first training step
        self.scope: Scope = scope
        self.backend: Backend | None = backend

    @overload
    def forward(
        self,
        x_a: Tensor,
        x_p: Tensor,
        *,
        key_padding_mask: Masks | None = None,
        return_attention: Literal[False] = False,
    ) -> Pair: ...

    @overload
    def forward(
        self, x_a: Tensor, x_p: Tensor, *, key_padding_mask: Masks | None = None, return_attention: Literal[True]
    ) -> tuple[Pair, Pair]: ...

    @overload
    def forward(
        self, x_a: Tensor, x_p: Tensor, *, key_padding_mask: Masks | None = None, return_attention: bool
    ) -> Pair | tuple[Pair, Pair]: ...

    def forward(
        self, x_a: Tensor, x_p: Tensor, *, key_padding_mask: Masks | None = None, return_attention: bool = False
    ) -> Pair | tuple[Pair, Pair]:
        """Return the attended values of anchor and positive.

        Args:
            x_a: Anchor tokens (B, Na, C).
            x_p: Positive tokens (B, Np, C).
            key_padding_mask: A mask (B, N) per image, true where a token is padding, or None for an image without
                padding. Padding has weight 0 and takes part in no comparison.
            return_attention: Also return the weights.

        Returns:
            `(y_a, y_p)`, each (B, N, C); with `return_attention`, `((y_a, y_p), (w_a, w_p))`, weights (B, N).
        """
        qk, values = self.project(x_a, x_p)
        w_a, w_p = QF.cross_similarity(*qk, scope=self.scope, key_padding_mask=key_padding_mask, backend=self.backend)
        attended = _weight(w_a, values[0]), _weight(w_p, values[1])
        return (attended, (w_a, w_p)) if return_attention else attended

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...

    def extra_repr(self) -> str:
        return f"dim={self.dim}, scope={self.scope!r}"


class QuadrupletCrossSimilarityAttention(ProjectedAttention):
    """Cross Similarity Attention of a quadruplet: anchor, positive, two negatives (paper Sec. 3.3, Eq. 7-9).

    The dissimilarity importance is weighted by the learnable gain g = 1 + tanh(theta), with theta initially 0.

    Args:
        dim: Channels C of the tokens.
        matrices: `"sd"`, or for ablations `"s"` (similarity only) or `"d"` (dissimilarity only), both without theta.
        scope: Where the extremal distances are taken: the whole `"batch"` (as published), each `"sample"`, or the
            `"world"`, the batches of all processes together.
        backend: Implementation of the attention weights; None chooses.

    Raises:
        InputError: If an option is unknown, or `forward` gets tokens that do not fit.

    Example:
        >>> import torch
        >>> from qcs.layers import QuadrupletCrossSimilarityAttention
        >>> ys = QuadrupletCrossSimilarityAttention(64)(*torch.randn(4, 2, 49, 64))
        >>> len(ys), ys[0].shape
        (4, torch.Size([2, 49, 64]))
    """

    branches = 4

    def __init__(
        self, dim: int, *, matrices: Matrices = "sd", scope: Scope = "batch", backend: Backend | None = None
    ) -> None:
        super().__init__(dim)
        check_choice("matrices", matrices, ("s", "d", "sd"))
        check_choice("scope", scope, QF.SCOPES)
        choose(backend)
        self.matrices: Matrices = matrices
        self.scope: Scope = scope
        self.backend: Backend | None = backend
        self.theta = nn.Parameter(torch.zeros(())) if matrices == "sd" else None

    @property
    def gain(self) -> Tensor | float:
        """The weight g of the dissimilarity importance, in (0, 2)."""
        return GAMMA if self.theta is None else GAMMA + self.theta.tanh()

    @overload
    def forward(
        self,
        x_a: Tensor,
        x_p: Tensor,
        x_n: Tensor,
        x_n2: Tensor,
        *,
        key_padding_mask: Masks | None = None,
        return_attention: Literal[False] = False,
    ) -> Quadruplet: ...

    @overload
    def forward(
        self,
        x_a: Tensor,
        x_p: Tensor,
        x_n: Tensor,
        x_n2: Tensor,
        *,
        key_padding_mask: Masks | None = None,
        return_attention: Literal[True],
    ) -> tuple[Quadruplet, Quadruplet]: ...

    @overload
    def forward(
        self,
        x_a: Tensor,
        x_p: Tensor,
        x_n: Tensor,
        x_n2: Tensor,
        *,
        key_padding_mask: Masks | None = None,
        return_attention: bool,
    ) -> Quadruplet | tuple[Quadruplet, Quadruplet]: ...

    def forward(
        self,
        x_a: Tensor,
        x_p: Tensor,
        x_n: Tensor,
        x_n2: Tensor,
        *,
        key_padding_mask: Masks | None = None,
        return_attention: bool = False,
    ) -> Quadruplet | tuple[Quadruplet, Quadruplet]:
        """Return the attended values of anchor, positive and the two negatives.

        Args:
            x_a: Anchor tokens (B, Na, C).
            x_p: Positive tokens (B, Np, C).
            x_n: Negative tokens (B, Nn, C).
            x_n2: Second negative's tokens (B, Nn2, C).
            key_padding_mask: A mask (B, N) per image, true where a token is padding, or None for an image without
                padding. Padding has weight 0 and takes part in no comparison.
            return_attention: Also return the weights.

        Returns:
            Four tensors (B, N, C); with `return_attention`, a pair of those four and of the four weights (B, N).
        """
        (qk_a, qk_p, qk_n, qk_n2), values = self.project(x_a, x_p, x_n, x_n2)
        w_a, w_p, w_n, w_n2 = QF.quadruplet_cross_similarity(
            qk_a,
            qk_p,
            qk_n,
            qk_n2,
            self.gain,
            matrices=self.matrices,
            scope=self.scope,
            key_padding_mask=key_padding_mask,
            backend=self.backend,
        )
        v_a, v_p, v_n, v_n2 = values
        attended = _weight(w_a, v_a), _weight(w_p, v_p), _weight(w_n, v_n), _weight(w_n2, v_n2)
        return (attended, (w_a, w_p, w_n, w_n2)) if return_attention else attended

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...

    def extra_repr(self) -> str:
        return f"dim={self.dim}, matrices={self.matrices!r}, scope={self.scope!r}"


class ScaledDotProductCrossAttention(ProjectedAttention):
    """Scaled-dot-product cross attention of two images: the paper's ablation "SDPA" (Table 1).

    Unlike in cross similarity, each image attends to the *other* image's values.

    Args:
        dim: Channels C of the tokens.

    Raises:
        InputError: If `forward` gets tokens that do not fit.

    Example:
        >>> import torch
        >>> from qcs.layers import ScaledDotProductCrossAttention
        >>> y_a, y_p = ScaledDotProductCrossAttention(64)(torch.randn(2, 49, 64), torch.randn(2, 49, 64))
        >>> y_a.shape
        torch.Size([2, 49, 64])
    """

    branches = 2

    @overload
    def forward(
        self,
        x_a: Tensor,
        x_p: Tensor,
        *,
        key_padding_mask: Masks | None = None,
        return_attention: Literal[False] = False,
    ) -> Pair: ...

    @overload
    def forward(
        self, x_a: Tensor, x_p: Tensor, *, key_padding_mask: Masks | None = None, return_attention: Literal[True]
    ) -> tuple[Pair, Pair]: ...

    @overload
    def forward(
        self, x_a: Tensor, x_p: Tensor, *, key_padding_mask: Masks | None = None, return_attention: bool
    ) -> Pair | tuple[Pair, Pair]: ...

    def forward(
        self, x_a: Tensor, x_p: Tensor, *, key_padding_mask: Masks | None = None, return_attention: bool = False
    ) -> Pair | tuple[Pair, Pair]:
        """Return the attended values of anchor and positive.

        Args:
            x_a: Anchor tokens (B, Na, C).
            x_p: Positive tokens (B, Np, C).
            key_padding_mask: A mask (B, N) per image, true where a token is padding, or None for an image without
                padding. Padding has weight 0 and takes part in no comparison.
            return_attention: Also return the maps.

        Returns:
            `(y_a, y_p)`, each (B, N, C); with `return_attention`, `((y_a, y_p), (map_a, map_p))`, maps (B, Na, Np) and
            (B, Np, Na) whose rows sum to 1.
        """
        (qk_a, qk_p), (v_a, v_p) = self.project(x_a, x_p)
        map_a, map_p = QF.scaled_dot_product_maps(qk_a, qk_p, key_padding_mask=key_padding_mask)
        attended = (map_a @ v_p, map_p @ v_a)
        return (attended, (map_a, map_p)) if return_attention else attended

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


def check_width(dim: int, tokens: Sequence[Tensor]) -> None:
    """Raise an `InputError` for tokens that are not (B, N, dim) of one dtype and device."""
    QF.check_tokens(**dict(zip(("x_a", "x_p", "x_n", "x_n2"), tokens, strict=False)))
    if tokens[0].shape[-1] != dim:
        raise InputError(f"expected tokens (B, N, {dim}), got shape {tuple(tokens[0].shape)}")


def _weight(weights: Tensor, values: Tensor) -> Tensor:
    return weights.unsqueeze(-1) * values
