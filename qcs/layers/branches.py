"""Running one shared module over several images at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def for_each_branch(module: Callable[[Tensor], Tensor], branches: Sequence[Tensor]) -> list[Tensor]:
    """Apply a batch-independent `module` to every branch, in one call where their shapes allow it."""
    if any(x.shape != branches[0].shape for x in branches):
        return [module(x) for x in branches]
    return list(module(torch.cat(tuple(branches))).chunk(len(branches)))
