"""What a training reports while it runs, for a display to show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class TimeLeft(NamedTuple):
    """Time left of a run, in seconds.

    Attributes:
        estimate: Estimate to the end of the training loop, from the time so far.
        budget: Rest of the time budget; None without a budget.
    """

    estimate: float
    budget: float | None = None


class Progress:
    """Observer of a training that shows nothing; a display overrides the methods it needs.

    Only the main process of a training calls it.

    Example:
        >>> class Printed(Progress):
        ...     def say(self, line: str) -> None:
        ...         print(line)
        >>> Printed().say("run folder runs/first")
        run folder runs/first
    """

    def say(self, line: str) -> None:
        """Receive a line of text: settings, results, where files were written."""

    def start_epoch(self, epoch: int, epochs: int, batches: int, done: int) -> None:
        """Receive the start of an epoch.

        Args:
            epoch: Its number, from 1.
            epochs: Maximum number of epochs.
            batches: Batches in it.
            done: Batches of it that an interrupted run had trained on before.
        """

    def step(self, batches: int, means: Mapping[str, float], left: TimeLeft) -> None:
        """Receive an optimizer step.

        Args:
            batches: Batches in the step.
            means: Mean losses and accuracies of the epoch so far.
            left: Time left of the run.
        """

    def end_epoch(self, epochs: int, record: Mapping[str, float], best: bool) -> None:
        """Receive the end of an epoch: its record, and whether its validation accuracy is the best so far."""
