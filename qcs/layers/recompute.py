"""Gradient checkpointing that leaves the running statistics of batch norms exact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(module: nn.Module, x: Tensor) -> Tensor:
    """Return `module(x)` and recompute its activations in the backward pass instead of storing them.

    The recomputation is a second forward pass in training mode; it does not update the running statistics again.

    Args:
        module: A module of one input.
        x: Its input.
    """
    out: Tensor = checkpoint(
        module, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _frozen_statistics(module))
    )
    return out


@contextmanager
def _frozen_statistics(module: nn.Module) -> Iterator[None]:
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None  # without a counter, batch norm counts nothing
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked = count
