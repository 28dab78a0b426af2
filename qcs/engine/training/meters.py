"""Averages over an epoch, weighted by images, and averaged over processes (which have equal shares)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from qcs.branches import BranchLogits


class RunningMeans:
    """Weighted means of named values.

    Example:
        >>> import torch
        >>> from qcs.engine.training.meters import RunningMeans
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

    def state_dict(self) -> dict[str, Any]:
        """This process's sums, and the images they are over."""
        return {"sums": {name: total.cpu() for name, total in self._sums.items()}, "weight": self._weight}

    def load_state_dict(self, states: Sequence[Mapping[str, Any]], accelerator: Accelerator) -> None:
        """Go on from the states of all processes: each from its own, or where their number changed, from the first."""
        same = len(states) == accelerator.num_processes
        state = states[accelerator.process_index if same else 0]
        self._sums = {name: total.to(accelerator.device) for name, total in state["sums"].items()}
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
