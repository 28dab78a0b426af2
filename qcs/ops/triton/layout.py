"""How tokens are handed to kernels: tile sizes, common strides, tuples of four images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

# Chosen so that no kernel spills registers on compute capability 8.0, 9.0 and 10.0, where three-pass products hold each
# operand twice.
TILE = 32
"""Tokens per tile where an image has several."""
BLOCK_C = 32
"""Channels per step of a distance tile."""
STEP = 16
"""Tokens that pass at a time where distances are at hand."""
CHUNK = 64
"""Channels whose gradients one program holds."""
WARPS = 8

_T = TypeVar("_T")


class Form(NamedTuple):
    """Which matrices are used and where their extrema are taken."""

    first_slot: int
    """0 with similarity, 1 without."""
    stop_slot: int
    """2 with dissimilarity, 1 without."""
    whole_batch: bool

    @classmethod
    def of(cls, matrices: str, scope: str) -> Form:
        return cls(int("s" not in matrices), 1 + int("d" in matrices), scope == "batch")

    @property
    def slots(self) -> int:
        return self.stop_slot - self.first_slot


class Images(NamedTuple):
    """First arguments of every kernel that works on the images a, p, n, n2."""

    tokens: tuple[Tensor, ...]
    batch_strides: tuple[int, ...]
    lengths: tuple[int, ...]
    stride: int
    channels: int

    @classmethod
    def of(cls, tokens: list[Tensor]) -> Images:
        tokens = with_common_stride(tokens)
        return cls(
            four(tokens),
            four([x.stride(0) for x in tokens]),
            four([x.shape[1] for x in tokens]),
            tokens[0].stride(1),
            tokens[0].shape[2],
        )


def steps(length: int, step: int) -> int:
    """Steps that cover a length."""
    return -(-length // step)


def block_of(tokens: Sequence[Tensor]) -> int:
    """Tokens per tile where one tile holds an image: at least 16, for tensor cores."""
    longest = max(x.shape[1] for x in tokens)
    return 16 if longest <= 16 else 32 if longest <= 32 else 64


def with_common_stride(tokens: list[Tensor]) -> list[Tensor]:
    """The tokens themselves if channels are adjacent and one stride leads from token to token, else copies."""
    if len({x.stride(1) for x in tokens}) == 1 and all(x.stride(2) == 1 for x in tokens):
        return tokens
    return [x.clone(memory_format=torch.contiguous_format) for x in tokens]


def four(of_each: list[_T]) -> tuple[_T, ...]:
    """The images' values as the tuple of four that kernels expect; the dual's two are repeated."""
    return tuple((of_each * 2)[:4])
