"""Comparing the images of all processes of a distributed training as if they were one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from qcs.functional import Scope

LayerScope = Literal["batch", "sample", "world"]
"""Where extremal distances are taken; `"world"` is the batches of all processes together."""

SCOPES: tuple[LayerScope, ...] = ("batch", "sample", "world")


def several_processes() -> bool:
    """Whether this process trains together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def compare(
    weights: Callable[..., Sequence[Tensor]], query_keys: Sequence[Tensor], scope: LayerScope
) -> Sequence[Tensor]:
    """Attention weights (B, N) of this process's images.

    With scope `"world"` every process compares the images of all of them, which costs each as much as the whole batch
    would, and keeps the weights of its own. Gradients flow back to the processes whose images they are of. All
    processes need batches of one size.

    Args:
        weights: Attention weights of some query-keys, given `scope`.
        query_keys: (B, N, C) of every branch.
        scope: Where the extremal distances are taken.
    """
    within: Scope = "sample" if scope == "sample" else "batch"
    if scope != "world" or not several_processes():
        return weights(*query_keys, scope=within)
    everyones = [_Gather.apply(x) for x in query_keys]
    size = query_keys[0].shape[0]
    own = slice(dist.get_rank() * size, (dist.get_rank() + 1) * size)
    return [w[own] for w in weights(*everyones, scope=within)]


class _Gather(torch.autograd.Function):
    """(B, ...) of every process to (processes * B, ...), in order of their ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.size = x.shape[0]
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        total = upstream[0].contiguous()
        dist.all_reduce(total)
        start = dist.get_rank() * ctx.size
        return total[start : start + ctx.size]


def mean_over_processes(x: Tensor) -> Tensor:
    """The mean of every process's tensor; gradients flow back to all of them."""
    mean: Tensor = _Total.apply(x) / dist.get_world_size()
    return mean


class _Total(torch.autograd.Function):
    """The sum of every process's tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        total = upstream[0].clone()
        dist.all_reduce(total)
        return total
