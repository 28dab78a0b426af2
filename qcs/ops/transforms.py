"""What the closed-form operators share towards autograd and `torch.func`: batching by a loop, one derivative only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten


def outside_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    """Context in which the operators run in the precision they choose, whatever autocast chooses for products."""
    device = tensor.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def batch_by_loop(operator: Callable[..., Any]) -> Callable[..., Any]:
    """Rule for `torch.library.register_vmap`: runs the operator once per slice of the mapped dimension.

    The scope "batch" is meant slice by slice, so that slices cannot be folded into one batch.
    """

    def rule(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        leaves, spec = tree_flatten(args)
        dims, _ = tree_flatten(in_dims)  # None, for what is not mapped, is a leaf as well
        outputs = []
        for index in range(info.batch_size):
            chosen = [x if dim is None else x.select(dim, index) for x, dim in zip(leaves, dims, strict=True)]
            outputs.append(operator(*tree_unflatten(chosen, spec)))
        stacked = tree_map(lambda *slices: torch.stack(slices), *outputs)
        return stacked, tree_map(lambda _: 0, stacked)

    return rule


def differentiable_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Makes the backward of an autograd function closed to differentiation: another derivative raises.

    Without it, gradients of gradients would be cut off in silence or fail in words about the autograd engine.
    `backward(ctx, saved, *upstream)` is given the saved tensors, which checkpointing lets be unpacked only once.
    """

    @wraps(backward)
    def guarded(ctx: Any, *upstream: Tensor | None) -> Any:
        saved = ctx.saved_tensors
        with torch.no_grad(), outside_autocast(next(t for t in saved if t is not None)):
            gradients = backward(ctx, saved, *upstream)
        if not torch.is_grad_enabled():
            return gradients
        sources = [*(t for t in upstream if t is not None), *(t for t in saved if t is not None)]
        given = [g for g in gradients if g is not None]
        found = iter(_DifferentiatedOnce.apply(len(given), *given, *sources))
        return tuple(None if g is None else next(found) for g in gradients)

    return guarded


class _DifferentiatedOnce(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(gradient.clone() for gradient in tensors[:count])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise NotImplementedError(
            "cross similarity has a second derivative only with backend='reference'; "
            "pass that backend to the layer or function, or do not differentiate its gradient"
        )
