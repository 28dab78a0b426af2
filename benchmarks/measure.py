"""Time every contender once per round with one clock; compute the memory-bandwidth bound on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.contenders import Case, Run

Clock = Callable[[Run], float]
"""Returns the seconds that a run takes."""

PATIENCE = 15.0
"""Seconds; a contender that takes longer is recorded with that one time and not run again."""


def cpu_clock(run: Run) -> float:
    """Return the wall time of one run, in seconds."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def cuda_clock() -> Clock:
    """Return a clock that measures one run between two GPU events, with the L2 cache flushed before."""
    flush = torch.empty(256 * 2**20, dtype=torch.uint8, device="cuda")
    event: Any = torch.cuda.Event  # untyped in PyTorch
    start, end = event(enable_timing=True), event(enable_timing=True)

    def clock(run: Run) -> float:
        flush.zero_()
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000

    return clock


def clock_for(device: str) -> Clock:
    """Return the clock of a device."""
    return cuda_clock() if device.startswith("cuda") else cpu_clock


class Rounds:
    """Time every run once per round, so that a slow phase of the machine affects all of them.

    A round is one call of `time_the_others`, then one of `time_ours`: a benchmark's setup and its target.
    """

    def __init__(self, runs: dict[str, Run], ours: str, clock: Clock) -> None:
        """Warm up all runs, including compilation.

        Args:
            runs: Independent runs by name.
            ours: Name of the run that comes last in each round.
            clock: Measures one run.
        """
        self.seconds: dict[str, list[float]] = {}
        self.too_slow: dict[str, str] = {}
        self._runs, self._ours, self._clock = runs, ours, clock
        self._round_seconds = 0.0
        for name, run in runs.items():
            run()
            seconds = clock(run)
            if seconds > PATIENCE and name != ours:
                self.too_slow[name] = f"one run took {seconds:.0f} s"
            else:
                self.seconds[name] = []
                self._round_seconds += seconds

    def fitting(self, seconds: float) -> int:
        """Return the number of rounds that fit into the seconds, at least 5 and at most 200."""
        return min(200, max(5, round(seconds / self._round_seconds)))

    def time_the_others(self) -> None:
        """Time all but ours, starting with a different one in each round."""
        others = [name for name in self.seconds if name != self._ours]
        first = len(self.seconds[self._ours]) % max(1, len(others))
        for name in others[first:] + others[:first]:
            self._time(name)

    def time_ours(self) -> None:
        """Time ours, which ends the round."""
        self._time(self._ours)

    def _time(self, name: str) -> None:
        self.seconds[name].append(self._clock(self._runs[name]))


def roofline(case: Case) -> float | None:
    """Return the seconds to move the tokens at full bandwidth; None on a CPU or if the bandwidth is unknown.

    The forward pass reads the tokens once; the backward pass reads them again and writes gradients of the same size.
    """
    if not case.device.startswith("cuda"):
        return None
    gpu = torch.cuda.get_device_properties(case.device)
    if not hasattr(gpu, "memory_clock_rate"):  # older PyTorch
        return None
    bandwidth = 2 * gpu.memory_clock_rate * 1e3 * gpu.memory_bus_width / 8  # twice per clock tick, in bytes per second
    return case.token_bytes * (3 if case.backward else 1) / bandwidth
