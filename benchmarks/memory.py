"""Peak memory of one pass beside its tokens: on a GPU from the allocator, on a CPU that of a process of its own.

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
    """Bytes at the peak minus bytes before.

    None where it is not measured: compiled contenders on a CPU, where compiling anew in another process takes longer
    than all else, and systems without `/proc`.
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
    # A tiny pass first: what libraries load and keep on their first use is not the contender's.
    _ready(name, case._replace(batch=1, tokens=30, channels=8))()
    run = _ready(name, case)
    # The kernel's own high-water mark: `ru_maxrss` starts at the peak of the process that started this one.
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
    """The largest memory that this process has had, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    _, name, batch, tokens, channels, direction = sys.argv
    print(_peak_here(name, Case(int(batch), int(tokens), int(channels), direction == "forward+backward", "cpu")))
