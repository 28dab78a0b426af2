"""Tokens of four images for which products lose digits, extrema tie or norms vanish."""

from __future__ import annotations

import torch
from torch import Tensor

B, C = 2, 8


def near_duplicates(n: int) -> list[Tensor]:
    x = torch.randn(B, n, C)
    return [x + 1e-3 * torch.randn(B, n, C) for _ in range(4)]


def two_tight_clusters(n: int) -> list[Tensor]:
    centers = torch.randn(2, C) * 10
    return [centers[torch.arange(n) % 2] + 1e-3 * torch.randn(B, n, C) for _ in range(4)]


def far_from_zero(n: int) -> list[Tensor]:
    return [1000 + torch.randn(B, n, C) for _ in range(4)]


def large(n: int) -> list[Tensor]:
    return [1e4 * torch.randn(B, n, C).sign() * (1 + torch.rand(B, n, C)) for _ in range(4)]


def some_zero_rows(n: int) -> list[Tensor]:
    tokens = [torch.randn(B, n, C) for _ in range(4)]
    for x in tokens:
        x[:, 0] = 0
    return tokens


def repeated_tokens(n: int) -> list[Tensor]:
    return [torch.randn(B, n, C)[:, torch.arange(n) // 3] for _ in range(4)]


HARD_CASES = [near_duplicates, two_tight_clusters, far_from_zero, large, some_zero_rows, repeated_tokens]
