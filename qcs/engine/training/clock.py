"""Measure the time of a run: how much of its budget is used, and when the next checkpoint is due."""

from __future__ import annotations

import time

import torch
from accelerate import Accelerator

from qcs.engine.training.config import TrainConfig
from qcs.engine.training.progress import TimeLeft


class Clock:
    """Wall time of a run, without the pauses between interruption and resumption.

    Args:
        config: The settings; `epochs`, `minutes` and `checkpoint_minutes` are used.
        accelerator: Device and processes; all processes agree on the progress.

    Attributes:
        before: Seconds that the run took before it was interrupted.
    """

    def __init__(self, config: TrainConfig, accelerator: Accelerator) -> None:
        self.config, self.accelerator = config, accelerator
        self.before = 0.0
        self.start()

    def start(self) -> None:
        """Start measuring."""
        self._started = self._saved = time.perf_counter()

    def seconds(self) -> float:
        """Return the wall time of the run so far, in seconds."""
        return self.before + time.perf_counter() - self._started

    def progress(self, epochs_done: float) -> float:
        """Return the fraction of the run that is done, in [0, 1]: of the epochs or of the time, whichever is larger."""
        fraction = epochs_done / self.config.epochs
        if self.config.minutes is not None:
            elapsed = torch.tensor(self.seconds(), device=self.accelerator.device)
            elapsed = self.accelerator.reduce(elapsed, reduction="mean")  # all processes must end in the same step
            fraction = max(fraction, float(elapsed) / (60 * self.config.minutes))
        return min(fraction, 1.0)

    def left(self, fraction: float) -> TimeLeft:
        """Return the time left of a run of which a fraction in (0, 1] is done, by the clock of this process."""
        seconds = self.seconds()
        budget = None if self.config.minutes is None else max(0.0, 60 * self.config.minutes - seconds)
        estimate = seconds * (1 - fraction) / fraction
        return TimeLeft(estimate if budget is None else min(estimate, budget), budget)

    def checkpoint_saved(self) -> None:
        """Measure the time to the next checkpoint from now on."""
        self._saved = time.perf_counter()

    def checkpoint_is_due(self) -> bool:
        """Return whether the last checkpoint is older than `checkpoint_minutes`, by the clock of this process."""
        return time.perf_counter() - self._saved >= 60 * self.config.checkpoint_minutes
