"""Measure the latency of an exported file beside the network in eager PyTorch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qcs.export.loaded import Pixels, Run


@dataclass(frozen=True)
class Latency:
    """Median latencies of one batch.

    Attributes:
        batch: Images per batch.
        eager: Seconds of the network in eager PyTorch, in float32.
        exported: Seconds of the exported file.
    """

    batch: int
    eager: float
    exported: float

    @property
    def ratio(self) -> float:
        """Speedup of the exported file over eager PyTorch."""
        return self.eager / self.exported


def measure_latency(network: nn.Module, run: Run, images: Tensor, seconds: float = 2.0) -> Latency:
    """Measure the latency of an exported file and of its network on the CPU, with the threads that PyTorch has.

    Args:
        network: The network in evaluation mode, in float32 on the CPU.
        run: The exported network.
        images: Images (B, C, H, W).
        seconds: Approximate duration of the measurement in seconds; at least three rounds are run.
    """
    medians = interleaved({"eager": eager(network), "exported": run}, images.numpy(), seconds)
    return Latency(len(images), medians["eager"], medians["exported"])


def eager(network: nn.Module) -> Run:
    """Return a function that calls a network in eager PyTorch as an exported file is called."""

    @torch.inference_mode()
    def run(images: Pixels) -> Pixels:
        logits: Pixels = network(torch.from_numpy(images)).numpy()
        return logits

    return run


def interleaved(
    runs: Mapping[str, Run], images: Pixels, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return the median seconds of every run; runs take turns, so that a busy machine slows all of them alike.

    Args:
        runs: Functions to measure, by name.
        images: Images (B, C, H, W).
        seconds: Approximate duration of the measurement in seconds; at least three rounds are run.
        clock: Function that returns the time in seconds.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    end = clock() + seconds
    rounds = 0
    while rounds < 3 or clock() < end:
        for name, run in runs.items():
            run(images)  # warm-up; it also outlasts the threads of the previous run, which spin for a while
            start = clock()
            run(images)
            taken[name].append(clock() - start)
        rounds += 1
    return {name: statistics.median(times) for name, times in taken.items()}
