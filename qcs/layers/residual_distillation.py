"""Contrastive residual distillation: the connection through which the cross classifier trains the base network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from qcs import functional as QF
from qcs.errors import InputError, check_choice
from qcs.functional import Backend
from qcs.layers.token_transformer import TokenTransformer
from qcs.ops import choose
from qcs.typed_call import same_signature

Connection = Literal["vit", "gap", "bilinear", "none"]


class ContrastiveResidualDistillation(nn.Module):
    """Classifies an image from its base features together with its cross features (paper Sec. 3.4, Table 1).

    The cross classifier receives the *sum* of base features and cross features. Its gradient flows through the sum into
    the base network, which thereby learns from the comparison; inference needs no comparison. The tokens may come from
    any backbone.

    Args:
        dim: Channels C of the tokens.
        num_tokens: Number of tokens N per image.
        num_classes: Number of classes; 0 returns the features before the linear head.
        connection: `"vit"` (sum, then a token transformer, as published), `"gap"` (sum, mean over tokens, linear),
            `"bilinear"` (bilinear pooling of features with cross features, linear) or `"none"` (a token transformer
            over the cross features alone, without a sum).
        depth: Transformer blocks of "vit" and "none".
        num_heads: Attention heads of "vit" and "none"; must divide `dim`.
        mlp_ratio: Hidden width of the MLPs of "vit" and "none" over C.
        drop_rate: Dropout of "vit" and "none", see `TokenTransformer`.
        proj_drop_rate: Dropout after the attention projection of "vit" and "none".
        drop_path_rate: Stochastic depth of "vit" and "none", see `TokenTransformer`.
        backend: Implementation of the bilinear pooling; None chooses.

    Raises:
        InputError: If an option is unknown, or `forward` gets tokens that do not fit.

    Example:
        >>> import torch
        >>> from qcs.layers import ContrastiveResidualDistillation
        >>> distil = ContrastiveResidualDistillation(dim=64, num_tokens=49, num_classes=7)
        >>> distil(torch.randn(2, 49, 64), torch.randn(2, 49, 64)).shape
        torch.Size([2, 7])
    """

    def __init__(
        self,
        dim: int,
        num_tokens: int,
        num_classes: int,
        *,
        connection: Connection = "vit",
        depth: int = 1,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        check_choice("connection", connection, ("vit", "gap", "bilinear", "none"))
        self.dim, self.num_tokens = dim, num_tokens
        choose(backend)
        self.connection: Connection = connection
        self.backend: Backend | None = backend
        self.classifier: nn.Module
        if connection in ("vit", "none"):
            self.classifier = TokenTransformer(
                dim,
                num_tokens,
                num_classes,
                depth=depth,
                num_heads=num_heads,
                mlp_ratio=mlp_ratio,
                drop_rate=drop_rate,
                proj_drop_rate=proj_drop_rate,
                drop_path_rate=drop_path_rate,
            )
        else:
            self.classifier = self._linear(num_classes)

    def _linear(self, num_classes: int) -> nn.Module:
        width = self.dim**2 if self.connection == "bilinear" else self.dim
        return nn.Linear(width, num_classes) if num_classes else nn.Identity()

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the linear head by a freshly initialized one for `num_classes`; 0 removes it."""
        if isinstance(self.classifier, TokenTransformer):
            self.classifier.reset_classifier(num_classes)
            return
        like = next(self.classifier.parameters(), None)
        fresh = self._linear(num_classes)
        self.classifier = fresh if like is None else fresh.to(like.device, like.dtype)

    def forward(self, features: Tensor, cross_features: Tensor) -> Tensor:
        """Return logits (B, classes) of base features (B, N, C) and cross features (B, N, C)."""
        if features.shape != cross_features.shape or features.shape[1:] != (self.num_tokens, self.dim):
            raise InputError(
                f"expected features and cross features (B, {self.num_tokens}, {self.dim}), "
                f"got {tuple(features.shape)} and {tuple(cross_features.shape)}"
            )
        logits: Tensor = self.classifier(self._connect(features, cross_features))
        return logits

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...

    def _connect(self, features: Tensor, cross_features: Tensor) -> Tensor:
        if self.connection == "none":
            return cross_features
        if self.connection == "bilinear":
            return QF.bilinear_pooling(features, cross_features, backend=self.backend)
        summed = features + cross_features
        return summed if self.connection == "vit" else summed.mean(1)
