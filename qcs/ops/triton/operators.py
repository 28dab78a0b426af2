"""The kernels as PyTorch operators, and their derivatives: for autograd, `torch.compile` and `torch.func`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from qcs.ops.transforms import batch_by_loop, differentiable_once
from qcs.ops.triton import distance, small_launch, tiled_launch
from qcs.ops.triton.layout import Form

SMALL = 64
"""Most tokens whose distance matrix is one tile."""


@torch.library.custom_op("qcs::triton_distance", mutates_args=(), schema="(Tensor q, Tensor k) -> Tensor")
def triton_distance(q: Tensor, k: Tensor) -> Tensor:
    """Euclidean distances (B, Nq, Nk) in float32."""
    out = distance.allocate(q, k)
    with _device_of(q):
        distance.forward(q, k, out)
    return out


@torch.library.custom_op(
    "qcs::triton_distance_backward",
    mutates_args=(),
    schema="(Tensor upstream, Tensor q, Tensor k) -> (Tensor, Tensor)",
)
def triton_distance_backward(upstream: Tensor, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of q and k."""
    of_q, of_k = _like([q, k])
    with _device_of(q):
        distance.backward(upstream, q, k, of_q, of_k)
    return of_q, of_k


@torch.library.custom_op(
    "qcs::triton_weights",
    mutates_args=(),
    schema="(Tensor[] tokens, Tensor? gain, float factor, str matrices, str scope) -> Tensor[]",
)
def triton_weights(tokens: list[Tensor], gain: Tensor | None, factor: float, matrices: str, scope: str) -> list[Tensor]:
    """Attention weights (B, N) of two or four images, then what the backward pass needs.

    D' is weighted by `gain`, a 0-d float32 tensor, or where that is None by `factor`.
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
        "(Tensor[] upstream, Tensor[] tokens, Tensor? gain, float factor, str matrices, str scope, Tensor[] kept)"
        " -> Tensor[]"
    ),
)
def triton_weights_backward(
    upstream: list[Tensor],
    tokens: list[Tensor],
    gain: Tensor | None,
    factor: float,
    matrices: str,
    scope: str,
    kept: list[Tensor],
) -> list[Tensor]:
    """Gradients of the tokens, then that of the gain where it is a tensor."""
    gradients = _like([*tokens] if gain is None else [*tokens, gain])
    gain_gradient = None if gain is None else gradients[-1]
    with _device_of(tokens[0]):
        _launches(tokens).backward(
            upstream, tokens, gain, factor, Form.of(matrices, scope), kept, gradients[: len(tokens)], gain_gradient
        )
    return gradients


def _device_of(x: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current GPU, which need not be that of the tokens."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def _launches(tokens: Sequence[Tensor]) -> Any:
    return small_launch if max(x.shape[1] for x in tokens) <= SMALL else tiled_launch


def _allocate(tokens: list[Tensor], form: Form) -> tuple[list[Tensor], list[Tensor]]:
    return [x.new_empty(x.shape[:2]) for x in tokens], _launches(tokens).allocate(tokens, form)


def _like(tensors: list[Tensor]) -> list[Tensor]:
    return [torch.empty_like(x, memory_format=torch.contiguous_format) for x in tensors]


@triton_weights.register_fake
def _(tokens: list[Tensor], gain: Tensor | None, factor: float, matrices: str, scope: str) -> list[Tensor]:
    weights, kept = _allocate(tokens, Form.of(matrices, scope))
    return weights + kept


@triton_weights_backward.register_fake
def _(upstream: list[Tensor], tokens: list[Tensor], gain: Tensor | None, *_: Any) -> list[Tensor]:
    return _like([*tokens] if gain is None else [*tokens, gain])


@triton_distance_backward.register_fake
def _(upstream: Tensor, q: Tensor, k: Tensor) -> tuple[Tensor, ...]:
    return tuple(_like([q, k]))


triton_distance.register_fake(distance.allocate)


for _operator in (triton_distance, triton_distance_backward, triton_weights, triton_weights_backward):
    _operator.register_vmap(batch_by_loop(_operator))


class Weights(torch.autograd.Function):
    """Attention weights of two or four images (the others None), then what the backward pass needs."""

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
        ctx.set_materialize_grads(False)  # else the kept tensors get gradients of zeros
        ctx.mark_non_differentiable(*output[len(tokens) :])
        ctx.save_for_backward(*tokens, gain, *output[len(tokens) :])

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, saved: Sequence[Any], *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        tokens, (gain, *kept) = list(saved[: ctx.images]), saved[ctx.images :]
        bars = [x.new_zeros(x.shape[:2]) if bar is None else bar for x, bar in zip(tokens, upstream, strict=False)]
        gradients = triton_weights_backward(bars, tokens, gain, *ctx.options, kept)
        of_gain = None if gain is None else gradients[-1]
        missing = [None] * (4 - len(tokens))
        return of_gain, None, None, None, *gradients[: len(tokens)], *missing


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
    @differentiable_once
    def backward(ctx: Any, saved: Sequence[Tensor], upstream: Tensor) -> tuple[Tensor, Tensor]:
        q, k = saved
        of_q, of_k = triton_distance_backward(upstream, q, k)
        return of_q, of_k


def _present(a: Tensor, p: Tensor, n: Tensor | None, n2: Tensor | None) -> list[Tensor]:
    return [image for image in (a, p, n, n2) if image is not None]
