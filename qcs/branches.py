"""The branches of a comparison: names and order, the output of a network for them, one call for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

BRANCHES: dict[int, tuple[str, ...]] = {
    1: ("anchor",),
    2: ("anchor", "positive"),
    4: ("anchor", "positive", "negative", "negative2"),
}

Pair: TypeAlias = tuple[Tensor, Tensor]
"""One tensor for anchor and positive each."""

Quadruplet: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
"""One tensor for anchor, positive, negative and second negative each."""


class BranchLogits(NamedTuple):
    """Logits of every branch, as a network returns them in training.

    Attributes:
        base: Logits of the base classifier (branches, B, classes), in the order a, p, n, n2.
        cross: Logits of the cross classifier (branches, B, classes); None for a network without cross modules.
        attention: Attention of the cross modules if requested, else None: weights (levels, branches, B, N) over the
            tokens of each level, each row sums to 1; maps (levels, branches, B, N, N) for scaled-dot-product attention.
    """

    base: Tensor
    cross: Tensor | None
    attention: Tensor | None = None


def for_each_branch(module: Callable[[Tensor], Tensor], branches: Sequence[Tensor]) -> list[Tensor]:
    """Apply a module to every branch, in one call where the shapes allow it.

    Args:
        module: A module that treats the samples of a batch independently.
        branches: A batch (B, ...) per branch.

    Returns:
        The module's output for each branch.
    """
    if any(x.shape != branches[0].shape for x in branches):
        return [module(x) for x in branches]
    return list(module(torch.cat(tuple(branches))).chunk(len(branches)))
