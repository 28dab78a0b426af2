"""Comparisons and statistics over the images of all processes of a distributed training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from qcs.functional import Scope

LayerScope = Literal["batch", "sample", "world"]
"""Where extremal distances are taken: whole batch, each sample, or the batches of all processes together."""

SCOPES: tuple[LayerScope, ...] = ("batch", "sample", "world")


def several_processes() -> bool:
    """Return whether this process trains together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def compare(
    weights: Callable[..., Sequence[Tensor]], query_keys: Sequence[Tensor], scope: LayerScope
) -> Sequence[Tensor]:
    """Compute the attention weights (B, N) of this process's images.

    With scope `"world"` every process compares the images of all processes, at the cost of the whole batch, and keeps
    the weights of its own images. Gradients flow back to every process's images. All processes need equal batch sizes.

    Args:
        weights: Function from query-keys and `scope` to attention weights.
        query_keys: (B, N, C) of every branch.
        scope: Where the extremal distances are taken.
    """
    within: Scope = "sample" if scope == "sample" else "batch"
    if scope != "world" or not several_processes():
        return weights(*query_keys, scope=within)
    gathered = [torch.cat(_collectives().all_gather(x)) for x in query_keys]
    size = query_keys[0].shape[0]
    own = slice(dist.get_rank() * size, (dist.get_rank() + 1) * size)
    return [w[own] for w in weights(*gathered, scope=within)]


def mean_over_processes(x: Tensor) -> Tensor:
    """Return the mean of every process's tensor; gradients flow back to all of them."""
    mean: Tensor = _collectives().all_reduce(x) / dist.get_world_size()
    return mean


def _collectives() -> Any:
    """Return PyTorch's collectives with gradients; they cannot be imported where PyTorch is built without processes."""
    import torch.distributed.nn.functional as collectives

    return collectives
