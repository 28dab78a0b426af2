"""Register the kernels as PyTorch operators with derivatives, for autograd, `torch.compile` and `torch.func`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from qcs.ops import reference
from qcs.ops._autograd import batch_by_loop, twice_differentiable
from qcs.ops.triton import distance, small, tiled
from qcs.ops.triton.tile import Form

SMALL = 64
"""Largest number of tokens whose distance matrix is one tile."""


@torch.library.custom_op("qcs::triton_distance", mutates_args=(), schema="(Tensor q, Tensor k) -> Tensor")
def triton_distance(q: Tensor, k: Tensor) -> Tensor:
    """Return Euclidean distances (B, Nq, Nk) in float32."""
    out = distance.allocate(q, k)
    with _device_of(q):
        distance.forward(q, k, out)
    return out


@torch.library.custom_op(
    "qcs::triton_distance_backward",
    mutates_args=(),
    schema="(Tensor grad_distances, Tensor q, Tensor k) -> (Tensor, Tensor)",
)
def triton_distance_backward(grad_distances: Tensor, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of q and k."""
    grad_q, grad_k = _like([q, k])
    with _device_of(q):
        distance.backward(grad_distances, q, k, grad_q, grad_k)
    return grad_q, grad_k


@torch.library.custom_op(
    "qcs::triton_weights",
    mutates_args=(),
    schema="(Tensor[] tokens, Tensor? gain, float factor, str matrices, str scope) -> Tensor[]",
)
def triton_weights(tokens: list[Tensor], gain: Tensor | None, factor: float, matrices: str, scope: str) -> list[Tensor]:
    """Return attention weights (B, N) of two or four images, then tensors kept for the backward pass.

    The gain of D' is `gain`, a 0-d float32 tensor, or `factor` if that is None.
    """
    form = Form.of(matrices, scope)
    weights, kept = _allocate(tokens, form)
    with _device_of(tokens[0]):
        _launches(tokens).forward(tokens, gain, factor, form, weights, kept)
    return weights + kept


@torch.library.custom_op(
    "qcs::triton_weights_backward",
    mutates_args=(),
    schema=(
        "(Tensor[] grad_weights, Tensor[] tokens, Tensor? gain, float factor, str matrices, str scope, Tensor[] kept)"
        " -> Tensor[]"
    ),
)
def triton_weights_backward(
    grad_weights: list[Tensor],
    tokens: list[Tensor],
    gain: Tensor | None,
    factor: float,
    matrices: str,
    scope: str,
    kept: list[Tensor],
) -> list[Tensor]:
    """Return the gradients of the tokens, then that of the gain if it is a tensor."""
    gradients = _like([*tokens] if gain is None else [*tokens, gain])
    grad_gain = None if gain is None else gradients[-1]
    with _device_of(tokens[0]):
        _launches(tokens).backward(
            grad_weights, tokens, gain, factor, Form.of(matrices, scope), kept, gradients[: len(tokens)], grad_gain
        )
    return gradients


def _device_of(x: Tensor) -> AbstractContextManager[object]:
    """Return a context that makes the tokens' GPU current: Triton launches on the current one."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def _launches(tokens: Sequence[Tensor]) -> Any:
    return small if max(x.shape[1] for x in tokens) <= SMALL else tiled


def _allocate(tokens: list[Tensor], form: Form) -> tuple[list[Tensor], list[Tensor]]:
    return [x.new_empty(x.shape[:2]) for x in tokens], _launches(tokens).allocate(tokens, form)


def _like(tensors: list[Tensor]) -> list[Tensor]:
    return [torch.empty_like(x, memory_format=torch.contiguous_format) for x in tensors]


@triton_weights.register_fake
def _(tokens: list[Tensor], gain: Tensor | None, factor: float, matrices: str, scope: str) -> list[Tensor]:
    weights, kept = _allocate(tokens, Form.of(matrices, scope))
    return weights + kept


@triton_weights_backward.register_fake
def _(grad_weights: list[Tensor], tokens: list[Tensor], gain: Tensor | None, *_: Any) -> list[Tensor]:
    return _like([*tokens] if gain is None else [*tokens, gain])


@triton_distance_backward.register_fake
def _(grad_distances: Tensor, q: Tensor, k: Tensor) -> tuple[Tensor, ...]:
    return tuple(_like([q, k]))


triton_distance.register_fake(distance.allocate)


for _operator in (triton_distance, triton_distance_backward, triton_weights, triton_weights_backward):
    _operator.register_vmap(batch_by_loop(_operator))


def _weights_definition(ctx: Any, saved: Sequence[Any]) -> Any:
    images, gain = list(saved[: ctx.images]), saved[ctx.images]
    factor, matrices, scope = ctx.options

    def defined(*arguments: Tensor) -> tuple[Tensor, ...]:
        learned, tokens = (arguments[0], arguments[1:]) if gain is not None else (factor, arguments)
        if ctx.images == 2:
            return reference.cross_similarity(tokens[0], tokens[1], scope)
        a, p, n, n2 = tokens
        return reference.quadruplet_cross_similarity(a, p, n, n2, learned, matrices, scope)

    places = list(range(4, 4 + ctx.images))
    return (defined, places, images) if gain is None else (defined, [0, *places], [gain, *images])


def _distance_definition(ctx: Any, saved: Sequence[Tensor]) -> Any:
    return lambda q, k: (reference.euclidean_distance(q, k),), [0, 1], list(saved)


class Weights(torch.autograd.Function):
    """Attention weights (B, N) of two or four images (the others None), then tensors kept for the backward pass."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        gain: Tensor | None,
        factor: float,
        matrices: str,
        scope: str,
        a: Tensor,
        p: Tensor,
        n: Tensor | None,
        n2: Tensor | None,
    ) -> tuple[Tensor, ...]:
        return tuple(triton_weights(_present(a, p, n, n2), gain, factor, matrices, scope))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        gain, *ctx.options, a, p, n, n2 = inputs
        tokens = _present(a, p, n, n2)
        ctx.images = len(tokens)
        ctx.set_materialize_grads(False)  # otherwise the kept tensors get gradients of zeros
        ctx.mark_non_differentiable(*output[len(tokens) :])
        ctx.save_for_backward(*tokens, gain, *output[len(tokens) :])

    @staticmethod
    @twice_differentiable(_weights_definition)
    def backward(ctx: Any, saved: Sequence[Any], *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        tokens, (gain, *kept) = list(saved[: ctx.images]), saved[ctx.images :]
        grad_weights = [
            x.new_zeros(x.shape[:2]) if grad is None else grad for x, grad in zip(tokens, grad_outputs, strict=False)
        ]
        gradients = triton_weights_backward(grad_weights, tokens, gain, *ctx.options, kept)
        grad_gain = None if gain is None else gradients[-1]
        missing = [None] * (4 - len(tokens))
        return grad_gain, None, None, None, *gradients[: len(tokens)], *missing


class Distance(torch.autograd.Function):
    """Euclidean distances (B, Nq, Nk) in float32."""

    generate_vmap_rule = True

    @staticmethod
    def forward(q: Tensor, k: Tensor) -> Tensor:
        return triton_distance(q, k)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @twice_differentiable(_distance_definition)
    def backward(ctx: Any, saved: Sequence[Tensor], grad_distances: Tensor) -> tuple[Tensor, Tensor]:
        q, k = saved
        grad_q, grad_k = triton_distance_backward(grad_distances, q, k)
        return grad_q, grad_k


def _present(a: Tensor, p: Tensor, n: Tensor | None, n2: Tensor | None) -> list[Tensor]:
    return [image for image in (a, p, n, n2) if image is not None]
