"""How long an exported file takes beside the network in eager PyTorch."""

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
    """Medians for one batch.

    Attributes:
        batch: Images per batch.
        eager: Seconds of the network in eager float32.
        exported: Seconds of the exported file.
    """

    batch: int
    eager: float
    exported: float

    @property
    def ratio(self) -> float:
        """How many times as fast the exported file is."""
        return self.eager / self.exported


def measure_latency(network: nn.Module, run: Run, images: Tensor, seconds: float = 2.0) -> Latency:
    """Time an exported file and the network it comes from, on the threads that PyTorch has.

    Args:
        network: The network in evaluation mode, in float32 on the CPU.
        run: The exported one.
        images: Images (B, C, H, W).
        seconds: How long to measure, about; three rounds at least.
    """
    medians = interleaved({"eager": eager(network), "exported": run}, images.numpy(), seconds)
    return Latency(len(images), medians["eager"], medians["exported"])


def eager(network: nn.Module) -> Run:
    """A network in eager PyTorch, called as an exported file is."""

    @torch.inference_mode()
    def run(images: Pixels) -> Pixels:
        logits: Pixels = network(torch.from_numpy(images)).numpy()
        return logits

    return run


def interleaved(
    runs: Mapping[str, Run], images: Pixels, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of every run, each once per round, so that what slows the machine slows all of them.

    Args:
        runs: By name.
        images: Images (B, C, H, W).
        seconds: How long to measure, about; three rounds at least.
        clock: Tells the time in seconds.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    end = clock() + seconds
    rounds = 0
    while rounds < 3 or clock() < end:
        for name, run in runs.items():
            run(images)  # warms up, and outlasts the threads of the run before, which wait busily for a while
            start = clock()
            run(images)
            taken[name].append(clock() - start)
        rounds += 1
    return {name: statistics.median(times) for name, times in taken.items()}
