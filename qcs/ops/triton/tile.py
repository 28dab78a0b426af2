"""Building blocks of all kernels: which images meet, the distances of two tiles of tokens, and their gradient.

Images are numbered a, p, n, n2 = 0..3. In slot 0 an image meets its own class (`image ^ 1`, similarity S), in slot 1
the other class (`image ^ 2`, dissimilarity D'). Both are one form: A = sD - min(sD) with s = -1 for S and +1 for D'. As
transposing a matrix exchanges its rows' and columns' roles, every kernel may put the image it works for ("own") along
the rows and the one it meets ("other") along the columns.
"""

# Kernels are not Python to a type checker, and write constants in capitals.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls
# ruff: noqa: N803
from __future__ import annotations

import triton
import triton.language as tl

from qcs.ops import numerics

NORM_FLOOR = tl.constexpr(numerics.NORM_FLOOR)
CANCELLATION = tl.constexpr(numerics.CANCELLATION)
TIE = tl.constexpr(numerics.TIE_ULPS * 2.0**-23)
PRECISION = tl.constexpr("tf32x3")  # three tensor-core products: float32 accuracy, a single one has 10 bits
INFINITY = tl.constexpr(float("inf"))


@triton.jit
def pick(image, of):
    """Element `image` of a tuple of four; a tuple cannot be indexed at run time."""
    return tl.where(image < 2, tl.where(image == 0, of[0], of[1]), tl.where(image == 2, of[2], of[3]))


@triton.jit
def sign_of(slot):
    return 2.0 * slot - 1.0


@triton.jit
def load_tokens(x, rows, length, stride, channels, C):
    """Tokens (rows, channels) in float32, zero outside the image."""
    inside = (rows < length)[:, None] & (channels < C)[None, :]
    return tl.load(x + rows[:, None].to(tl.int64) * stride + channels[None, :], inside, other=0.0).to(tl.float32)


@triton.jit
def load_centred(q, q_rows, q_length, k, k_rows, k_length, stride, channels, C):
    """Tokens of both tiles less the mean of k's: differences stay, a large common part goes."""
    x = load_tokens(q, q_rows, q_length, stride, channels, C)
    y = load_tokens(k, k_rows, k_length, stride, channels, C)
    mean = tl.sum(y, 0) / tl.sum((k_rows < k_length).to(tl.float32))
    x = tl.where((q_rows < q_length)[:, None], x - mean[None, :], 0.0)
    y = tl.where((k_rows < k_length)[:, None], y - mean[None, :], 0.0)
    return x, y


@triton.jit
def distance_tile(q, q_rows, q_length, k, k_rows, k_length, stride, C, BLOCK_C: tl.constexpr):
    """Distances (rows of q, rows of k), and where the product form of the square would have lost digits.

    There the square is summed again from differences. The condition is written so that NaN counts as lost: it then
    stays where it belongs, although centring had spread it over the tile.
    """
    product = tl.zeros((q_rows.shape[0], k_rows.shape[0]), tl.float32)
    q_square = tl.zeros((q_rows.shape[0],), tl.float32)
    k_square = tl.zeros((k_rows.shape[0],), tl.float32)
    for start in range(0, C, BLOCK_C):
        channels = start + tl.arange(0, BLOCK_C)
        x, y = load_centred(q, q_rows, q_length, k, k_rows, k_length, stride, channels, C)
        product = tl.dot(x, tl.trans(y), product, input_precision=PRECISION)
        q_square += tl.sum(x * x, 1)
        k_square += tl.sum(y * y, 1)
    squares = q_square[:, None] + k_square[None, :]
    square = squares - 2.0 * product
    valid = (q_rows < q_length)[:, None] & (k_rows < k_length)[None, :]
    lost = ~(square >= squares * CANCELLATION) & valid
    if tl.max(lost.to(tl.int32)) > 0:
        exact = tl.zeros((q_rows.shape[0], k_rows.shape[0]), tl.float32)
        for c in range(C):
            of_q = tl.load(q + q_rows.to(tl.int64) * stride + c, q_rows < q_length, other=0.0).to(tl.float32)
            of_k = tl.load(k + k_rows.to(tl.int64) * stride + c, k_rows < k_length, other=0.0).to(tl.float32)
            difference = of_q[:, None] - of_k[None, :]
            exact += difference * difference
        square = tl.where(lost, exact, square)
    return tl.sqrt(tl.where(square < 0.0, 0.0, square)), lost


@triton.jit
def pull_tile(total, weight, lost, q, q_rows, q_length, k, k_rows, k_length, stride, channels, C):
    """Add Σⱼ weight[i, j]·(q[i] - k[j]) to `total` (rows of q, channels).

    Where the product form lost digits of the distance it would lose those of the difference: these entries are added
    one column at a time.
    """
    x, y = load_centred(q, q_rows, q_length, k, k_rows, k_length, stride, channels, C)
    safe = tl.where(lost, 0.0, weight)
    total += x * tl.sum(safe, 1)[:, None] - tl.dot(safe, y, input_precision=PRECISION)
    if tl.max(lost.to(tl.int32)) > 0:
        of_q = load_tokens(q, q_rows, q_length, stride, channels, C)
        first = tl.min(k_rows, 0)
        for row in range(first, tl.minimum(first + k_rows.shape[0], k_length)):
            column = tl.sum(tl.where((k_rows == row)[None, :] & lost, weight, 0.0), 1)
            of_k = tl.load(k + tl.cast(row, tl.int64) * stride + channels, channels < C, other=0.0).to(tl.float32)
            total += column[:, None] * (of_q - of_k[None, :])
    return total


@triton.jit
def lowest(x, axis: tl.constexpr):
    """Minimum that is NaN where any element is; the hardware's minimum drops NaN."""
    return tl.where(tl.max((x != x).to(tl.int32), axis) > 0, float("nan"), tl.min(x, axis))


@triton.jit
def floored(norm):
    """Divisor for a norm; NaN passes."""
    return tl.where(norm < NORM_FLOOR, NORM_FLOOR, norm)


@triton.jit
def norm_slope(moment, norm):
    """Gradient factor of a normalised row: Σ A·upstream / norm³, none where the floor replaced the norm."""
    return tl.where(norm > NORM_FLOOR, moment / norm / norm / norm, tl.where(norm == norm, 0.0, float("nan")))


@triton.jit
def aligned_slope(aligned, own_bar, other_bar, own_norm, other_norm, own_alpha, other_alpha):
    """Gradient of an aligned matrix, rows own, columns other, from those of the importance of its rows and columns."""
    slope = other_bar[None, :] / own_norm[:, None] + own_bar[:, None] / other_norm[None, :]
    return slope - aligned * (own_alpha[:, None] + other_alpha[None, :])


@triton.jit
def tied(aligned, low, valid):
    """Entries at the extremum."""
    return (aligned <= tl.abs(low) * TIE) & valid


@triton.jit
def pull_weight(slope, share, tie, distance, sign):
    """dL/dD / D: the extremum receives its share of the sum of all slopes. 0 at distance 0."""
    return tl.where(distance == 0.0, 0.0, sign * (slope - tl.where(tie, share, 0.0)) / distance)
