"""Measure the peak memory of one pass beyond its tokens: from the allocator on a GPU, in a separate process on a CPU.

`python -m benchmarks.memory analytic 24 49 768 forward` prints bytes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.contenders import CONTENDERS, Case, Run, run_of

ROOT = Path(__file__).resolve().parents[1]
STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


def peak_extra(name: str, case: Case, run: Run) -> int | None:
    """Return bytes at the peak minus bytes before.

    None if it is not measured: for compiled contenders on a CPU, which would compile again in the other process, and on
    systems without `/proc`.
    """
    if case.device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if CONTENDERS[name].compiled or not CLEAR.exists():
        return None
    command = [sys.executable, "-m", "benchmarks.memory", name, *map(str, case[:3]), case.direction]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def _peak_here(name: str, case: Case) -> int:
    # A tiny pass first: what libraries load on first use must not count.
    _ready(name, case._replace(batch=1, tokens=30, channels=8))()
    run = _ready(name, case)
    # Use the kernel's high-water mark: `ru_maxrss` starts at the peak of the parent process.
    CLEAR.write_text("5")
    before = high_water()
    run()
    return high_water() - before


def _ready(name: str, case: Case) -> Run:
    run = run_of(name, case)
    if isinstance(run, str):
        raise SystemExit(f"{name} is not run: {run}")
    return run


def high_water() -> int:
    """Return the largest memory that this process has used, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    _, name, batch, tokens, channels, direction = sys.argv
    print(_peak_here(name, Case(int(batch), int(tokens), int(channels), direction == "forward+backward", "cpu")))
