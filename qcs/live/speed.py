"""Measure the rate of a stream and where its time goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Speed:
    """Count frames and the wall time of each stage.

    Attributes:
        frames: Frames that have a result.
        seconds: Wall time of each stage by name, of all frames together.
        calls: Number of runs of each stage.
        latency: Seconds from reading the last frame to its result.

    Example:
        >>> speed = Speed()
        >>> with speed.stage("detection"):
        ...     pass
        >>> speed.frame(read_at=time.perf_counter())
        >>> speed.frames, sorted(speed.milliseconds)
        (1, ['detection'])
    """

    def __init__(self) -> None:
        self.frames, self.latency = 0, 0.0
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._begin = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        begin = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin
        self.calls[name] = self.calls.get(name, 0) + 1

    def frame(self, read_at: float) -> None:
        """Count a frame that was read at a time of `time.perf_counter`."""
        self.frames += 1
        self.latency = time.perf_counter() - read_at

    @property
    def rate(self) -> float:
        """Frames per second since the start."""
        return self.frames / max(time.perf_counter() - self._begin, 1e-9)

    @property
    def milliseconds(self) -> dict[str, float]:
        """Mean time of one run of each stage."""
        return {name: 1000 * total / self.calls[name] for name, total in self.seconds.items()}

    def __str__(self) -> str:
        stages = ", ".join(f"{name} {value:.1f}" for name, value in self.milliseconds.items())
        return f"{self.rate:.1f} frames/s; milliseconds per run: {stages}"
