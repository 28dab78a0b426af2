"""Launches and kernels of the plain distance matrix, for any number of tokens."""

# Kernels are not Python to a type checker, and write constants in capitals.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls
# ruff: noqa: N803
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from qcs.ops.triton import tile
from qcs.ops.triton.tile import add_weighted_differences, distance_tile


@triton.jit
def distance_fwd_kernel(
    q, q_batch, q_length, k, k_batch, k_length, stride, C, out, BLOCK: tl.constexpr, BLOCK_C: tl.constexpr
):  # fmt: skip
    """Compute one tile of the matrix per program."""
    b = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    columns = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    q += b * q_batch
    k += b * k_batch
    distance, _ = distance_tile(q, rows, q_length, k, columns, k_length, stride, C, BLOCK_C)
    valid = (rows < q_length)[:, None] & (columns < k_length)[None, :]
    row = (b * q_length + rows)[:, None] * k_length
    tl.store(out + row + columns[None, :], distance, valid)


@triton.jit
def tokens_bwd_kernel(
    own, own_batch, own_length, other, other_batch, other_length, stride, C,
    grad_distances, grad_batch, grad_own, grad_other, out,
    BLOCK: tl.constexpr, BLOCK_C: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Compute the gradient of some tokens and channels in a loop over the other image, recomputing distances."""
    b = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    channels = tl.program_id(2) * CHUNK + tl.arange(0, CHUNK)
    own += b * own_batch
    other += b * other_batch
    total = tl.zeros((BLOCK, CHUNK), tl.float32)
    for start in range(0, other_length, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        distance, canceled = distance_tile(own, rows, own_length, other, columns, other_length, stride, C, BLOCK_C)
        valid = (rows < own_length)[:, None] & (columns < other_length)[None, :]
        place = rows[:, None].to(tl.int64) * grad_own + columns[None, :].to(tl.int64) * grad_other
        grad = tl.load(grad_distances + b * grad_batch + place, valid, other=0.0)
        weight = tl.where((distance == 0.0) | ~valid, 0.0, grad / distance)
        total = add_weighted_differences(
            total, weight, canceled, own, rows, own_length, other, columns, other_length, stride, channels, C
        )
    inside = (rows < own_length)[:, None] & (channels < C)[None, :]
    tl.store(out + (b * own_length + rows)[:, None] * C + channels[None, :], total.to(out.dtype.element_ty), inside)


def allocate(q: Tensor, k: Tensor) -> Tensor:
    """Return memory for the distances (B, Nq, Nk)."""
    return q.new_empty(q.shape[0], q.shape[1], k.shape[1], dtype=torch.float32)


def forward(q: Tensor, k: Tensor, out: Tensor) -> None:
    """Write the distances (B, Nq, Nk) to `out`."""
    q, k = tile.with_common_stride([q, k])
    block = tile.TILE
    distance_fwd_kernel[(q.shape[0], tile.steps(q.shape[1], block), tile.steps(k.shape[1], block))](
        q, q.stride(0), q.shape[1], k, k.stride(0), k.shape[1], q.stride(1), q.shape[2], out,
        BLOCK=block, BLOCK_C=tile.BLOCK_C, num_warps=tile.WARPS,
    )  # fmt: skip


def backward(grad_distances: Tensor, q: Tensor, k: Tensor, grad_q: Tensor, grad_k: Tensor) -> None:
    """Write the gradients of q and k."""
    q, k = tile.with_common_stride([q, k])
    block, chunk = tile.TILE, tile.CHUNK
    for own, other, grad, out in ((q, k, grad_distances, grad_q), (k, q, grad_distances.mT, grad_k)):
        tokens_bwd_kernel[(q.shape[0], tile.steps(own.shape[1], block), tile.steps(q.shape[2], chunk))](
            own, own.stride(0), own.shape[1], other, other.stride(0), other.shape[1], q.stride(1), q.shape[2],
            grad, *grad.stride(), out,
            BLOCK=block, BLOCK_C=tile.BLOCK_C, CHUNK=chunk, num_warps=tile.WARPS,
        )  # fmt: skip
