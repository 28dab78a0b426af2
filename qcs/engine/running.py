"""Averages over an epoch, weighted by images, and averaged over processes (which have equal shares)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from qcs.branches import BranchLogits


class RunningMeans:
    """Weighted means of named values.

    Example:
        >>> import torch
        >>> from qcs.engine.running import RunningMeans
        >>> means = RunningMeans()
        >>> means.add({"loss": torch.tensor(1.0)}, weight=1); means.add({"loss": torch.tensor(4.0)}, weight=2)
        >>> means.values()
        {'loss': 3.0}
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weight = 0

    def add(self, values: Mapping[str, Tensor], weight: int) -> None:
        """Count values (scalars) that are means over `weight` images."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=value.device)) + value.detach() * weight
        self._weight += weight

    def state_dict(self, accelerator: Accelerator) -> dict[str, Any]:
        """The means so far over all processes, and what they are means of."""
        sums = accelerator.reduce(dict(self._sums), reduction="mean") if self._sums else {}
        return {"sums": sums, "weight": self._weight}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from a state, the same in all processes."""
        self._sums = {name: total.to(device) for name, total in state["sums"].items()}
        self._weight = state["weight"]

    def values(self, accelerator: Accelerator | None = None) -> dict[str, float]:
        """The means so far, over all processes of `accelerator`."""
        sums: dict[str, Tensor] = {name: total / max(self._weight, 1) for name, total in self._sums.items()}
        if accelerator is not None:
            sums = accelerator.reduce(sums, reduction="mean")
        return {name: float(total) for name, total in sums.items()}


def accuracies(out: BranchLogits, labels: Tensor) -> dict[str, Tensor]:
    """Share of images that the base and the cross classifier get right, over all branches, in [0, 1]."""
    labels = labels.argmax(-1) if labels.is_floating_point() else labels
    classifiers = {"base_accuracy": out.base, "cross_accuracy": out.cross}
    return {
        name: (logits.argmax(-1) == labels).float().mean() for name, logits in classifiers.items() if logits is not None
    }
