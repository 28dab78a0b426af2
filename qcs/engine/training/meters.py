"""Average losses and accuracies over an epoch, weighted by images, and over processes of equally many images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from qcs.branches import BranchLogits


class AverageMeter:
    """Running means of named values, weighted.

    Example:
        >>> import torch
        >>> from qcs.engine.training.meters import AverageMeter
        >>> means = AverageMeter()
        >>> means.add({"loss": torch.tensor(1.0)}, weight=1); means.add({"loss": torch.tensor(4.0)}, weight=2)
        >>> means.values()
        {'loss': 3.0}
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weight = 0

    def add(self, values: Mapping[str, Tensor], weight: int) -> None:
        """Add scalars that are means over `weight` images."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=value.device)) + value.detach() * weight
        self._weight += weight

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of this process and the number of images in them."""
        return {"sums": {name: total.cpu() for name, total in self._sums.items()}, "weight": self._weight}

    def load_state_dict(self, states: Sequence[Mapping[str, Any]], accelerator: Accelerator) -> None:
        """Restore the states of all processes: each its own, or that of the first if their number changed."""
        same = len(states) == accelerator.num_processes
        state = states[accelerator.process_index if same else 0]
        self._sums = {name: total.to(accelerator.device) for name, total in state["sums"].items()}
        self._weight = state["weight"]

    def values(self, accelerator: Accelerator | None = None) -> dict[str, float]:
        """Return the means so far, over all processes of `accelerator`."""
        sums: dict[str, Tensor] = {name: total / max(self._weight, 1) for name, total in self._sums.items()}
        if accelerator is not None:
            sums = accelerator.reduce(sums, reduction="mean")
        return {name: float(total) for name, total in sums.items()}


def accuracies(out: BranchLogits, labels: Tensor) -> dict[str, Tensor]:
    """Return the accuracy of the base and the cross classifier, over all branches, in [0, 1]."""
    labels = labels.argmax(-1) if labels.is_floating_point() else labels
    classifiers = {"base_accuracy": out.base, "cross_accuracy": out.cross}
    return {
        name: (logits.argmax(-1) == labels).float().mean() for name, logits in classifiers.items() if logits is not None
    }
