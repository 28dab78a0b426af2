"""The branches of a comparison, their order and names, and what a network returns for them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

BRANCHES: dict[int, tuple[str, ...]] = {
    1: ("anchor",),
    2: ("anchor", "positive"),
    4: ("anchor", "positive", "negative", "negative2"),
}


class BranchLogits(NamedTuple):
    """What a training forward pass returns.

    Attributes:
        base: Logits of the base classifier (branches, B, classes), in the order a, p, n, n2.
        cross: Logits of the cross classifier (branches, B, classes); None for a network without cross part.
        attention: On request, the attention of the cross modules (levels, branches, B, N): weights over the tokens of
            each level that sum to 1; for scaled-dot-product attention maps (levels, branches, B, N, N).
    """

    base: Tensor
    cross: Tensor | None
    attention: Tensor | None = None
