"""Shared rules of the closed-form operators: autocast, `vmap` by a loop, and a backward pass that cannot be derived."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten


def outside_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    """Return a context without autocast on the tensor's device, so that operators keep the precision they choose."""
    device = tensor.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def batch_by_loop(operator: Callable[..., Any]) -> Callable[..., Any]:
    """Return a rule for `torch.library.register_vmap` that runs the operator once per slice of the mapped dimension.

    Slices cannot be folded into one batch: with scope "batch", each slice has its own extremal distances.
    """

    def rule(info: Any, in_dims: Any, *args: Any) -> tuple[Any, Any]:
        leaves, spec = tree_flatten(args)
        dims, _ = tree_flatten(in_dims)  # None, for arguments that are not mapped, is a leaf as well
        outputs = []
        for index in range(info.batch_size):
            selected = [x if dim is None else x.select(dim, index) for x, dim in zip(leaves, dims, strict=True)]
            outputs.append(operator(*tree_unflatten(selected, spec)))
        stacked = tree_map(lambda *slices: torch.stack(slices), *outputs)
        return stacked, tree_map(lambda _: 0, stacked)

    return rule


def differentiable_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate the backward of an autograd function so that differentiating it again raises a clear error.

    Without it, gradients of gradients would silently be cut off, or fail with a message about the autograd engine.
    `backward(ctx, saved, *grad_outputs)` receives the saved tensors, which checkpointing allows to unpack only once.
    """

    @wraps(backward)
    def guarded(ctx: Any, *grad_outputs: Tensor | None) -> Any:
        saved = ctx.saved_tensors
        with torch.no_grad(), outside_autocast(next(t for t in saved if t is not None)):
            gradients = backward(ctx, saved, *grad_outputs)
        if not torch.is_grad_enabled():
            return gradients
        sources = [*(t for t in grad_outputs if t is not None), *(t for t in saved if t is not None)]
        present = [g for g in gradients if g is not None]
        guarded_gradients = iter(_DifferentiatedOnce.apply(len(present), *present, *sources))
        return tuple(None if g is None else next(guarded_gradients) for g in gradients)

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
