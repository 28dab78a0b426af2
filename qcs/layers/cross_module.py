"""Cross modules: one transformer block per feature level, shared by all images that it compares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, overload

from timm.layers import Mlp
from torch import Tensor, nn

from qcs.branches import Pair, Quadruplet, for_each_branch
from qcs.errors import check_choice
from qcs.functional import Backend, Masks, Matrices, Scope
from qcs.layers.cross_similarity import (
    CrossSimilarityAttention,
    ProjectedAttention,
    QuadrupletCrossSimilarityAttention,
    ScaledDotProductCrossAttention,
    check_width,
)
from qcs.ops import choose
from qcs.typed_call import same_signature

Residual = Literal["normalized", "identity"]
Attention = Literal["csa", "sdpa"]


class CrossModule(nn.Module):
    """Norm, attention between the images, residual, norm, MLP, residual; subclasses choose the attention.

    With `residual="normalized"` both residuals add to the *normalized* tokens, with `"identity"` to the tokens before
    the norm, as in an ordinary pre-norm block. Published checkpoints exist for both.
    """

    def __init__(self, dim: int, attention: ProjectedAttention, mlp_ratio: float, residual: Residual) -> None:
        super().__init__()
        check_choice("residual", residual, ("normalized", "identity"))
        self.residual: Residual = residual
        self.norm1 = nn.LayerNorm(dim)
        self.attention = attention
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, hidden_features=int(dim * mlp_ratio))

    def _compare(self, *tokens: Tensor, masks: Masks | None) -> tuple[list[Tensor], Sequence[Tensor]]:
        """Return refined tokens (B, N, C) and attention of every image."""
        check_width(self.attention.dim, tokens)
        normed = for_each_branch(self.norm1, tokens)
        attended, weights = self.attention(*normed, key_padding_mask=masks, return_attention=True)
        stream = normed if self.residual == "normalized" else tokens
        mixed = [x + y for x, y in zip(stream, attended, strict=True)]
        return for_each_branch(self._feed_forward, mixed), weights

    def _feed_forward(self, x: Tensor) -> Tensor:
        normed = self.norm2(x)
        stream: Tensor = normed if self.residual == "normalized" else x
        return stream + self.mlp(normed)


class DualCrossModule(CrossModule):
    """Dual Cross Similarity (DCS): refines the tokens of two images of one class by comparing them (paper Sec. 3.2).

    Args:
        dim: Channels C of the tokens.
        attention: `"csa"`, or `"sdpa"` for the scaled-dot-product ablation, which has no scope and no backend.
        residual: `"normalized"` (as published for RAF-DB and AffectNet-7) or `"identity"` (FERPlus, AffectNet-8).
        scope: Where the largest distance is taken: the whole `"batch"`, each `"sample"`, or the `"world"`, see
            `CrossSimilarityAttention`.
        mlp_ratio: Hidden width of the MLP over C.
        backend: Implementation of the attention weights; None chooses.

    Raises:
        InputError: If an option is unknown, or `forward` gets tokens that do not fit.

    Example:
        >>> import torch
        >>> from qcs.layers import DualCrossModule
        >>> z_a, z_p = DualCrossModule(64)(torch.randn(2, 49, 64), torch.randn(2, 49, 64))
        >>> z_a.shape
        torch.Size([2, 49, 64])
    """

    branches = 2

    def __init__(
        self,
        dim: int,
        *,
        attention: Attention = "csa",
        residual: Residual = "normalized",
        scope: Scope = "batch",
        mlp_ratio: float = 4.0,
        backend: Backend | None = None,
    ) -> None:
        check_choice("attention", attention, ("csa", "sdpa"))
        choose(backend)
        layer: ProjectedAttention
        if attention == "csa":
            layer = CrossSimilarityAttention(dim, scope=scope, backend=backend)
        else:
            layer = ScaledDotProductCrossAttention(dim)
        super().__init__(dim, layer, mlp_ratio, residual)

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
        """Return the refined tokens of anchor and positive.

        Args:
            x_a: Anchor tokens (B, Na, C).
            x_p: Positive tokens (B, Np, C).
            key_padding_mask: A mask (B, N) per image, true where a token is padding, or None for an image without
                padding. Padding has weight 0 and takes part in no comparison.
            return_attention: Also return the attention.

        Returns:
            `(z_a, z_p)`, each (B, N, C); with `return_attention`, `((z_a, z_p), attention)`: weights (B, N) for "csa",
            maps (B, Na, Np) and (B, Np, Na) over the other image's tokens for "sdpa".
        """
        (z_a, z_p), (w_a, w_p) = self._compare(x_a, x_p, masks=key_padding_mask)
        return ((z_a, z_p), (w_a, w_p)) if return_attention else (z_a, z_p)

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


class QuadrupletCrossModule(CrossModule):
    """Quadruplet Cross Similarity (QCS): refines the tokens of four images by comparing them (paper Sec. 3.3).

    Args:
        dim: Channels C of the tokens.
        matrices: `"sd"`, or for ablations `"s"` (similarity only) or `"d"` (dissimilarity only).
        residual: `"normalized"` (all published QCS models) or `"identity"`.
        scope: Where the extremal distances are taken: the whole `"batch"`, each `"sample"`, or the `"world"`, see
            `CrossSimilarityAttention`.
        mlp_ratio: Hidden width of the MLP over C.
        backend: Implementation of the attention weights; None chooses.

    Raises:
        InputError: If an option is unknown, or `forward` gets tokens that do not fit.

    Example:
        >>> import torch
        >>> from qcs.layers import QuadrupletCrossModule
        >>> z_a, z_p, z_n, z_n2 = QuadrupletCrossModule(64)(*torch.randn(4, 2, 49, 64))
        >>> z_n2.shape
        torch.Size([2, 49, 64])
    """

    branches = 4

    def __init__(
        self,
        dim: int,
        *,
        matrices: Matrices = "sd",
        residual: Residual = "normalized",
        scope: Scope = "batch",
        mlp_ratio: float = 4.0,
        backend: Backend | None = None,
    ) -> None:
        layer = QuadrupletCrossSimilarityAttention(dim, matrices=matrices, scope=scope, backend=backend)
        super().__init__(dim, layer, mlp_ratio, residual)

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
        """Return the refined tokens of anchor, positive and the two negatives.

        Args:
            x_a: Anchor tokens (B, Na, C).
            x_p: Positive tokens (B, Np, C).
            x_n: Negative tokens (B, Nn, C).
            x_n2: Second negative's tokens (B, Nn2, C).
            key_padding_mask: A mask (B, N) per image, true where a token is padding, or None for an image without
                padding. Padding has weight 0 and takes part in no comparison.
            return_attention: Also return the attention weights.

        Returns:
            Four tensors (B, N, C); with `return_attention`, a pair of those four and of the four weights (B, N).
        """
        (z_a, z_p, z_n, z_n2), (w_a, w_p, w_n, w_n2) = self._compare(x_a, x_p, x_n, x_n2, masks=key_padding_mask)
        refined = z_a, z_p, z_n, z_n2
        return (refined, (w_a, w_p, w_n, w_n2)) if return_attention else refined

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...
