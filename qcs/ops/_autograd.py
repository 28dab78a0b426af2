"""Shared rules of the closed-form operators: autocast, `vmap` by a loop, and second derivatives by recomputation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

_vjp: Any = torch.func.vjp  # typed as if it always had auxiliary outputs

Definition: TypeAlias = Callable[..., tuple[Tensor, ...]]
"""Differentiable function of some inputs of an autograd function to its differentiable outputs."""


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


def twice_differentiable(
    definition: Callable[[Any, Sequence[Any]], tuple[Definition, list[int], list[Tensor]]],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate the backward of an autograd function so that its gradient has derivatives of any order.

    Only if a gradient is differentiated, the function is computed again from its definition, with the time and memory
    that the definition takes.

    Args:
        definition: From ctx and saved tensors to the definition of the operator, the places of its arguments among the
            inputs of the autograd function, and these arguments. The outputs are the first ones of the function.

    Returns:
        A decorator of `backward(ctx, saved, *grad_outputs)`, which receives the saved tensors, because checkpointing
        allows to unpack them only once.
    """

    def decorate(backward: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(backward)
        def guarded(ctx: Any, *grad_outputs: Tensor | None) -> Any:
            saved = ctx.saved_tensors
            with torch.no_grad(), outside_autocast(next(t for t in saved if t is not None)):
                gradients = backward(ctx, saved, *grad_outputs)
            given = [place for place, grad in enumerate(grad_outputs) if grad is not None]
            if not torch.is_grad_enabled() or not given:
                return gradients
            defined, places, arguments = definition(ctx, saved)
            chosen = [(place, x) for place, x in zip(places, arguments, strict=True) if gradients[place] is not None]
            others = {n: x for n, x in enumerate(arguments) if gradients[places[n]] is None}

            def outputs(*inputs: Tensor) -> tuple[Tensor, ...]:
                rest = iter(inputs)
                complete = [others[n] if n in others else next(rest) for n in range(len(arguments))]
                results = defined(*complete)
                return tuple(results[place] for place in given)

            attached = _Gradient.apply(
                outputs,
                len(chosen),
                *(gradients[place] for place, _ in chosen),
                *(x for _, x in chosen),
                *(grad_outputs[place] for place in given),
            )
            found = dict(zip((place for place, _ in chosen), attached, strict=True))
            return tuple(found.get(place) for place in range(len(gradients)))

        return guarded

    return decorate


class _Gradient(torch.autograd.Function):
    """Gradients that are known already, as a function of the inputs and upstream gradients they belong to."""

    generate_vmap_rule = True

    @staticmethod
    def forward(outputs: Definition, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(gradient.clone() for gradient in tensors[:count])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.outputs, ctx.count, *tensors = inputs
        ctx.save_for_backward(*tensors[ctx.count :])

    @staticmethod
    def backward(ctx: Any, *grad_gradients: Tensor) -> Any:
        def gradients(*tensors: Tensor) -> tuple[Tensor, ...]:
            results, vector_product = _vjp(ctx.outputs, *tensors[: ctx.count])
            upstream = zip(tensors[ctx.count :], results, strict=True)
            product: tuple[Tensor, ...] = vector_product(tuple(u.to(y.dtype) for u, y in upstream))
            return product

        known = ctx.saved_tensors
        with outside_autocast(known[0]):
            values, vector_product = _vjp(gradients, *known)
            derivatives = vector_product(tuple(g.to(v.dtype) for g, v in zip(grad_gradients, values, strict=True)))
        return None, None, *[None] * ctx.count, *derivatives
