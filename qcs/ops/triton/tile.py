"""Building blocks of all kernels: tile sizes and arguments, distances of two tiles of tokens, and their gradient.

Images are numbered a, p, n, n2 = 0..3. In slot 0 an image is paired with its own class (`image ^ 1`, similarity S), in
slot 1 with the other class (`image ^ 2`, dissimilarity D'). Both have the form A = sD - min(sD) with s = -1 for S and
+1 for D'. Transposing a matrix swaps the roles of its rows and columns, so every kernel may put the image it computes
("own") along the rows and the image it is paired with ("other") along the columns.
"""

# Kernels are not Python to a type checker, and write constants in capitals.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls
# ruff: noqa: N803
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from qcs.ops import _numerics

NORM_FLOOR = tl.constexpr(_numerics.NORM_FLOOR)
CANCELLATION = tl.constexpr(_numerics.CANCELLATION)
TIE = tl.constexpr(_numerics.TIE_ULPS * 2.0**-23)
PRECISION = tl.constexpr("tf32x3")  # three tensor-core products: float32 accuracy, a single one has 10 bits
INFINITY = tl.constexpr(float("inf"))

# No kernel spills registers with these sizes on compute capability 8.0, 9.0 and 10.0; three-pass products hold each
# operand twice.
TILE = 32
"""Tokens per tile if an image has several tiles."""
BLOCK_C = 32
"""Channels per step of a distance tile."""
STEP = 16
"""Tokens per step if distances are stored."""
CHUNK = 64
"""Channels whose gradients one program computes."""
WARPS = 8

_T = TypeVar("_T")


class Form(NamedTuple):
    """Which matrices are used, and whether extrema are taken over the batch or per sample."""

    first_slot: int
    """0 with similarity, 1 without."""
    stop_slot: int
    """2 with dissimilarity, 1 without."""
    whole_batch: bool

    @classmethod
    def of(cls, matrices: str, scope: str) -> Form:
        """Return the form of the public options `matrices` and `scope`."""
        return cls(int("s" not in matrices), 1 + int("d" in matrices), scope == "batch")

    @property
    def slots(self) -> int:
        return self.stop_slot - self.first_slot


class Images(NamedTuple):
    """First arguments of every kernel on the images a, p, n, n2."""

    tokens: tuple[Tensor, ...]
    batch_strides: tuple[int, ...]
    lengths: tuple[int, ...]
    stride: int
    channels: int

    @classmethod
    def of(cls, tokens: list[Tensor]) -> Images:
        """Return the arguments for tokens (B, N, C) of two or four images."""
        tokens = with_common_stride(tokens)
        return cls(
            four(tokens),
            four([x.stride(0) for x in tokens]),
            four([x.shape[1] for x in tokens]),
            tokens[0].stride(1),
            tokens[0].shape[2],
        )


def steps(length: int, step: int) -> int:
    """Return the number of steps that cover a length."""
    return -(-length // step)


def block_size(tokens: Sequence[Tensor]) -> int:
    """Return the tokens per tile if one tile holds an image: at least 16, for tensor cores."""
    longest = max(x.shape[1] for x in tokens)
    return 16 if longest <= 16 else 32 if longest <= 32 else 64


def with_common_stride(tokens: list[Tensor]) -> list[Tensor]:
    """Return the tokens if their channels are adjacent and all have one token stride, else contiguous copies."""
    if len({x.stride(1) for x in tokens}) == 1 and all(x.stride(2) == 1 for x in tokens):
        return tokens
    return [x.clone(memory_format=torch.contiguous_format) for x in tokens]


def four(of_each: list[_T]) -> tuple[_T, ...]:
    """Return the tuple of four values that kernels expect; the two of a dual are repeated."""
    return tuple((of_each * 2)[:4])


@triton.jit
def pick(image, of):
    """Return element `image` of a tuple of four; kernels cannot index a tuple by a variable."""
    return tl.where(image < 2, tl.where(image == 0, of[0], of[1]), tl.where(image == 2, of[2], of[3]))


@triton.jit
def sign_of(slot):
    return 2.0 * slot - 1.0


@triton.jit
def load_tokens(x, rows, length, stride, channels, C):
    """Load tokens (rows, channels) in float32, zero outside the image."""
    inside = (rows < length)[:, None] & (channels < C)[None, :]
    return tl.load(x + rows[:, None].to(tl.int64) * stride + channels[None, :], inside, other=0.0).to(tl.float32)


@triton.jit
def load_centered(q, q_rows, q_length, k, k_rows, k_length, stride, channels, C):
    """Load the tokens of both tiles and subtract the mean of k's, which removes a large common part from both."""
    x = load_tokens(q, q_rows, q_length, stride, channels, C)
    y = load_tokens(k, k_rows, k_length, stride, channels, C)
    mean = tl.sum(y, 0) / tl.sum((k_rows < k_length).to(tl.float32))
    x = tl.where((q_rows < q_length)[:, None], x - mean[None, :], 0.0)
    y = tl.where((k_rows < k_length)[:, None], y - mean[None, :], 0.0)
    return x, y


@triton.jit
def distance_tile(q, q_rows, q_length, k, k_rows, k_length, stride, C, BLOCK_C: tl.constexpr):
    """Return distances (rows of q, rows of k), and where the product form of the square canceled.

    Canceled squares are summed again from differences. The condition treats NaN as canceled, so that NaN stays in its
    own rows and columns although centering has spread it over the tile.
    """
    product = tl.zeros((q_rows.shape[0], k_rows.shape[0]), tl.float32)
    q_square = tl.zeros((q_rows.shape[0],), tl.float32)
    k_square = tl.zeros((k_rows.shape[0],), tl.float32)
    for start in range(0, C, BLOCK_C):
        channels = start + tl.arange(0, BLOCK_C)
        x, y = load_centered(q, q_rows, q_length, k, k_rows, k_length, stride, channels, C)
        product = tl.dot(x, tl.trans(y), product, input_precision=PRECISION)
        q_square += tl.sum(x * x, 1)
        k_square += tl.sum(y * y, 1)
    squares = q_square[:, None] + k_square[None, :]
    square = squares - 2.0 * product
    valid = (q_rows < q_length)[:, None] & (k_rows < k_length)[None, :]
    canceled = ~(square >= squares * CANCELLATION) & valid
    if tl.max(canceled.to(tl.int32)) > 0:
        exact = tl.zeros((q_rows.shape[0], k_rows.shape[0]), tl.float32)
        for c in range(C):
            of_q = tl.load(q + q_rows.to(tl.int64) * stride + c, q_rows < q_length, other=0.0).to(tl.float32)
            of_k = tl.load(k + k_rows.to(tl.int64) * stride + c, k_rows < k_length, other=0.0).to(tl.float32)
            difference = of_q[:, None] - of_k[None, :]
            exact += difference * difference
        square = tl.where(canceled, exact, square)
    return tl.sqrt(tl.where(square < 0.0, 0.0, square)), canceled


@triton.jit
def add_weighted_differences(total, weight, canceled, q, q_rows, q_length, k, k_rows, k_length, stride, channels, C):
    """Add Σⱼ weight[i, j]·(q[i] - k[j]) to `total` (rows of q, channels) and return it.

    Where the product form of the distance canceled, that of the difference cancels too: these entries are added one
    column at a time.
    """
    x, y = load_centered(q, q_rows, q_length, k, k_rows, k_length, stride, channels, C)
    safe = tl.where(canceled, 0.0, weight)
    total += x * tl.sum(safe, 1)[:, None] - tl.dot(safe, y, input_precision=PRECISION)
    if tl.max(canceled.to(tl.int32)) > 0:
        of_q = load_tokens(q, q_rows, q_length, stride, channels, C)
        first = tl.min(k_rows, 0)
        for row in range(first, tl.minimum(first + k_rows.shape[0], k_length)):
            column = tl.sum(tl.where((k_rows == row)[None, :] & canceled, weight, 0.0), 1)
            of_k = tl.load(k + tl.cast(row, tl.int64) * stride + channels, channels < C, other=0.0).to(tl.float32)
            total += column[:, None] * (of_q - of_k[None, :])
    return total


@triton.jit
def lowest(x, axis: tl.constexpr):
    """Return the minimum, NaN if any element is NaN; the hardware's minimum ignores NaN."""
    return tl.where(tl.max((x != x).to(tl.int32), axis) > 0, float("nan"), tl.min(x, axis))


@triton.jit
def floored(norm):
    """Return the norm, at least `NORM_FLOOR`; NaN stays NaN."""
    return tl.where(norm < NORM_FLOOR, NORM_FLOOR, norm)


@triton.jit
def norm_grad(moment, norm):
    """Return α of a normalized row, Σ A·grad / norm³; 0 where the floor replaced the norm."""
    return tl.where(norm > NORM_FLOOR, moment / norm / norm / norm, tl.where(norm == norm, 0.0, float("nan")))


@triton.jit
def aligned_grad(aligned, own_grad, other_grad, own_norm, other_norm, own_alpha, other_alpha):
    """Return the gradient of an aligned matrix (own, other) from those of its row and column importance."""
    grad = other_grad[None, :] / own_norm[:, None] + own_grad[:, None] / other_norm[None, :]
    return grad - aligned * (own_alpha[:, None] + other_alpha[None, :])


@triton.jit
def tied(aligned, low, valid):
    """Return which entries tie for the extremum."""
    return (aligned <= tl.abs(low) * TIE) & valid


@triton.jit
def difference_weight(grad_aligned, grad_per_tie, tie, distance, sign):
    """Return dL/dD / D, 0 at distance 0; tied entries subtract their part of the sum of all gradients."""
    return tl.where(distance == 0.0, 0.0, sign * (grad_aligned - tl.where(tie, grad_per_tie, 0.0)) / distance)
