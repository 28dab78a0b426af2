"""The distance operator: one matrix of distances, and its derivative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qcs.ops import reference
from qcs.ops._autograd import batch_by_loop, outside_autocast, twice_differentiable
from qcs.ops.analytic.grid import Centered, Grid, TokenGradients
from qcs.ops.precision import float32_products


@torch.library.custom_op("qcs::distance", mutates_args=())
def distance(q: Tensor, k: Tensor) -> list[Tensor]:
    """Return distances (B, N, M) of q (B, N, C) to k (B, M, C) in float32 or better, then state for the backward."""
    result = _empty(q, k)
    distances, *tokens, any_canceled = result
    grid = Grid([q], [k], "d", Centered(*tokens), _as_matrices(distances), any_canceled)
    with float32_products(q.device):
        for _ in grid.first_pass():
            pass
    return result


@torch.library.custom_op("qcs::distance_backward", mutates_args=())
def distance_backward(
    grad_distances: Tensor, distances: Tensor, state: Sequence[Tensor], q: Tensor, k: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of q and k."""
    *tokens, any_canceled = state
    kept, grad = _as_matrices(distances), _as_matrices(grad_distances)
    grid = Grid([q], [k], "d", Centered(*tokens), kept, any_canceled)
    gradients = TokenGradients(grid)
    with float32_products(q.device):
        for strip in grid.strips(with_tokens=True):
            gradients.add(strip, grad[strip.rows].clone(memory_format=torch.contiguous_format))
    return gradients.rows.to(q.dtype), gradients.columns.to(q.dtype)


@distance.register_fake
def _(q: Tensor, k: Tensor) -> list[Tensor]:
    return _empty(q, k)


@distance_backward.register_fake
def _(
    grad_distances: Tensor, distances: Tensor, state: Sequence[Tensor], q: Tensor, k: Tensor
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(q, memory_format=torch.contiguous_format), torch.empty_like(
        k, memory_format=torch.contiguous_format
    )


distance.register_vmap(batch_by_loop(distance))
distance_backward.register_vmap(batch_by_loop(distance_backward))


def _definition(ctx: Any, saved: Sequence[Tensor]) -> Any:
    return lambda q, k: (reference.euclidean_distance(q, k),), [0, 1], list(saved[-2:])


class Distance(torch.autograd.Function):
    """Distances (B, N, M) of the tokens q (B, N, C) to k (B, M, C); the other outputs are state for the backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(q: Tensor, k: Tensor) -> tuple[Tensor, ...]:
        with outside_autocast(q):
            return tuple(distance(q, k))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output, *inputs)

    @staticmethod
    @twice_differentiable(_definition)
    def backward(ctx: Any, saved: Sequence[Tensor], grad_distances: Tensor | None, *_: None) -> Any:
        if grad_distances is None:
            return None, None
        distances, *state, q, k = saved
        return distance_backward(grad_distances, distances, state, q, k)


def _as_matrices(matrix: Tensor) -> Tensor:
    """Return (B, N, M) as (B, 1, N, 1, M), a view."""
    return matrix.unsqueeze(1).unsqueeze(3)


def _empty(q: Tensor, k: Tensor) -> list[Tensor]:
    (B, N, C), M = q.shape, k.shape[1]
    like = q.new_empty((), dtype=torch.promote_types(q.dtype, torch.float32))
    return [
        like.new_empty(B, N, M),
        like.new_empty(B, N, C),
        like.new_empty(B, M, C),
        like.new_empty(B, N),
        like.new_empty(B, M),
        like.new_empty((), dtype=torch.bool),
    ]
