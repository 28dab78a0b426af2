"""Few numbers exchanged between the processes of a distributed training, with gradients of any order."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def several_processes() -> bool:
    """Return whether this process trains together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def total(x: Tensor) -> Tensor:
    """Return the sum of every process's tensor, the same everywhere; gradients flow back to all of them."""
    if not several_processes():
        return x
    summed: Tensor = _Total.apply(x)
    return summed


def mean_over_processes(x: Tensor) -> Tensor:
    """Return the mean of every process's tensor; gradients flow back to all of them."""
    return total(x) / dist.get_world_size()


def minimum(x: Tensor) -> Tensor:
    """Return the element-wise minimum of every process's tensor, without gradients; NaN if any is NaN."""
    return gathered(x).amin(0) if several_processes() else x


def gathered(x: Tensor) -> Tensor:
    """Return the tensors of all processes, stacked, without gradients."""
    pieces = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(pieces, x.detach().contiguous())
    return torch.stack(pieces)


def extremum(local: Tensor, count: Tensor, largest: bool) -> Tensor:
    """Return the largest or smallest of every process's extremum, with gradients.

    Args:
        local: The extremum of this process's distances.
        count: How many of its distances attain it; entries that tie share the gradient, wherever they are.
        largest: Whether the extremum is the largest distance.
    """
    if not several_processes():
        return local
    values, counts = gathered(local), gathered(count.to(local.dtype))
    value = values.amax(0) if largest else values.amin(0)
    attained = torch.where(values == value, counts, 0).sum(0).clamp_min(1)
    fraction = torch.where(local == value, count / attained, 0).detach()
    change = torch.where(fraction > 0, local - local.detach(), 0)  # has the gradient of the extremum, and is 0
    return value + total(fraction * change)


class _Total(torch.autograd.Function):
    """Sum over all processes. Its gradient is the sum of the gradients of all processes."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        summed = x.contiguous().clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return total(grad)
