"""Self-attention by squared distances, whose output changes at most in proportion to its input."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qcs import functional as QF
from qcs.errors import InputError
from qcs.functional import Backend
from qcs.ops import choose


class DistanceAttention(nn.Module):
    """Multi-head self-attention by squared distances in its Lipschitz form.

    Each head h projects tokens to queries with W_h, which are its keys as well, attends with the softmax of
    -|q - k|² / √d to the tokens times W_h W_hᵀ / √d, and projects the result to its values (Kim, Papamakarios and
    Mnih: The Lipschitz Constant of Self-Attention, ICML 2021, Sec. 3.2). Dot-product attention has no Lipschitz
    constant. Not a part of the paper on Quadruplet Cross Similarity.

    Args:
        dim: Channels C of the tokens.
        num_heads: Heads; C must be a multiple.
        backend: Implementation of the distances; None chooses.

    Raises:
        InputError: If an option is out of range, or `forward` gets tokens that do not fit.

    Example:
        >>> import torch
        >>> from qcs.layers import DistanceAttention
        >>> layer = DistanceAttention(64, num_heads=4)
        >>> layer(torch.randn(2, 49, 64)).shape, layer.lipschitz_bound(49) > 0
        (torch.Size([2, 49, 64]), True)
    """

    def __init__(self, dim: int, num_heads: int = 1, *, backend: Backend | None = None) -> None:
        super().__init__()
        if dim < 1 or num_heads < 1 or dim % num_heads:
            raise InputError(f"dim must be a positive multiple of num_heads, got {dim} and {num_heads}")
        choose(backend)  # refuse a backend that cannot run here, not in the first training step
        self.dim, self.num_heads, self.width = dim, num_heads, dim // num_heads
        self.backend: Backend | None = backend
        self.query = nn.Parameter(torch.empty(num_heads, dim, self.width))
        self.value = nn.Parameter(torch.empty(num_heads, dim, self.width))
        self.out = nn.Parameter(torch.empty(dim, dim))
        for weight in (*self.query, *self.value, self.out):
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        """Return attended tokens (B, N, C).

        Args:
            x: Tokens (B, N, C).
            key_padding_mask: Mask (B, N), true where a token is padding, which no token attends to.
        """
        QF.check_tokens(x=x)
        if x.shape[-1] != self.dim:
            raise InputError(f"expected tokens (B, N, {self.dim}), got shape {tuple(x.shape)}")
        B, N, _ = x.shape
        queries = (x.unsqueeze(1) @ self.query).flatten(0, 1)  # (B * heads, N, width)
        # (P x) W Wᵀ V / √d from the projected tokens: the products of the weights are small.
        mixed = self.query.mT @ self.value / self.width**0.5
        values = queries.view(B, self.num_heads, N, self.width) @ mixed
        mask = None if key_padding_mask is None else key_padding_mask.repeat_interleave(self.num_heads, 0)
        attended = QF.distance_attention(
            queries, queries, values.flatten(0, 1), key_padding_mask=mask, backend=self.backend
        )
        return attended.view(B, self.num_heads, N, self.width).transpose(1, 2).flatten(2) @ self.out

    def lipschitz_bound(self, num_tokens: int) -> float:
        """Return a bound on |f(x) - f(y)| / |x - y| in Frobenius norms, for images of so many tokens.

        After Theorem 3.2 of the paper, with the norm of W_h W_hᵀ in each head: √N (4 φ⁻¹(N - 1) + 1) / √d times
        √Σ (‖W_h‖² ‖V_h‖)² ‖O‖, where φ(x) = x exp(x + 1).
        """
        with torch.no_grad():
            norms = [torch.linalg.matrix_norm(w.double(), 2) for w in (self.query, self.value, self.out)]
        heads = float((norms[0].square() * norms[1]).square().sum().sqrt() * norms[2])
        return math.sqrt(num_tokens / self.width) * (4 * _inverse(num_tokens - 1) + 1) * heads

    def extra_repr(self) -> str:
        return f"dim={self.dim}, num_heads={self.num_heads}"


def _inverse(y: float) -> float:
    """Return x at least 0 with x exp(x + 1) = y, by bisection."""
    low, high = 0.0, max(1.0, math.log1p(y))
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if middle * math.exp(middle + 1) < y else (low, middle)
    return high
