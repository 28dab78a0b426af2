"""Classifier over tokens: a small vision transformer whose class token passes a gate."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from timm.layers import trunc_normal_
from timm.models import checkpoint_seq
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from qcs.errors import InputError
from qcs.layers.channel_gate import ChannelGate
from qcs.typed_call import same_signature


class TokenTransformer(nn.Module):
    """Classifies tokens by class token, position embedding, pre-norm transformer blocks, gate and linear head.

    Args:
        dim: Channels C of the tokens.
        num_tokens: Number of tokens N per image, the class token not counted.
        num_classes: Classes of the linear head; 0 returns the gated class token.
        depth: Number of blocks.
        num_heads: Attention heads; must divide `dim`.
        mlp_ratio: Hidden width of the MLPs over C.
        drop_rate: Dropout after the position embedding and twice in each MLP, a probability.
        proj_drop_rate: Dropout after the attention's projection, a probability.
        drop_path_rate: Stochastic depth: probability that a sample skips the attention or the MLP of a block, the same
            in every block.

    Raises:
        InputError: If `num_heads` does not divide `dim`, or `forward` gets tokens that do not fit.

    Example:
        >>> import torch
        >>> from qcs.layers import TokenTransformer
        >>> TokenTransformer(dim=64, num_tokens=49, num_classes=7)(torch.randn(2, 49, 64)).shape
        torch.Size([2, 7])
    """

    def __init__(
        self,
        dim: int,
        num_tokens: int,
        num_classes: int,
        *,
        depth: int = 1,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise InputError(f"num_heads must divide the {dim} channels of the tokens, got {num_heads}")
        self.dim, self.num_tokens = dim, num_tokens
        self.grad_checkpointing = False
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, num_tokens + 1, dim))
        self.pos_drop = nn.Dropout(drop_rate)
        norm = partial(nn.LayerNorm, eps=1e-6)
        dropout = dict(proj_drop=drop_rate, drop_path=drop_path_rate)
        blocks = [Block(dim, num_heads, mlp_ratio, qkv_bias=True, norm_layer=norm, **dropout) for _ in range(depth)]
        for block in blocks:  # timm has one rate for MLP and attention projection, the published networks have two
            block.attn.proj_drop = nn.Dropout(proj_drop_rate)
        self.blocks = nn.Sequential(*blocks)
        self.norm = norm(dim)
        self.gate = ChannelGate(dim)
        self.head = nn.Linear(dim, num_classes) if num_classes else nn.Identity()
        self._init_weights()

    def _init_weights(self) -> None:
        trunc_normal_(self.cls_token, std=0.02)
        trunc_normal_(self.pos_embed, std=0.02)
        self.apply(_init_linear)

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the head by a freshly initialized one for `num_classes`; 0 removes it."""
        fresh = nn.Linear(self.dim, num_classes) if num_classes else nn.Identity()
        self.head = fresh.apply(_init_linear).to(self.cls_token.device, self.cls_token.dtype)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the normalized tokens (B, 1 + N, C) of tokens (B, N, C), the class token first."""
        if x.ndim != 3 or x.shape[1:] != (self.num_tokens, self.dim):
            raise InputError(f"expected tokens (B, {self.num_tokens}, {self.dim}), got shape {tuple(x.shape)}")
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = self.pos_drop(x + self.pos_embed)
        x = checkpoint_seq(self.blocks, x) if self.grad_checkpointing else self.blocks(x)
        out: Tensor = self.norm(x)
        return out

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, classes) of normalized tokens (B, 1 + N, C), or the gated class token (B, C)."""
        gated: Tensor = self.gate(x[:, 0])
        return gated if pre_logits else self.head(gated)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes) of tokens (B, N, C)."""
        return self.forward_head(self.forward_features(x))

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
