"""Measure the operator beyond its memory budget: `python -m benchmarks.budget --output benchmarks/budget.json`.

One pass forward and backward of images of many tokens whose distances are computed again instead of kept, beside the
bare products that every closed form needs. CPU time, so that other programs on the machine count little.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch

import qcs
from benchmarks.contenders import Case, Run, run_of
from benchmarks.memory import CLEAR, high_water


def measure(case: Case, budget: int) -> dict[str, Any]:
    """Return peak memory beyond the tokens in bytes, CPU seconds, and those of the products."""
    small = ready("analytic", case._replace(batch=1, tokens=30, channels=8))
    small()  # what libraries load on first use must not count
    run = ready("analytic", case)
    with qcs.ops.memory_budget(budget):
        CLEAR.write_text("5")
        before = high_water()
        seconds = cpu_seconds(run)
        peak = high_water() - before
        images = torch.empty(4, case.batch, case.tokens, case.channels, device="meta")
        found = qcs.ops.explain(*images, backend="analytic")
    return {
        "case": case._asdict(),
        "budget": budget,
        "path": found.path,
        "distances_bytes": found.distances,
        "peak_bytes": peak,
        "cpu_seconds": seconds,
        "products_cpu_seconds": cpu_seconds(ready("products", case)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }


def ready(name: str, case: Case) -> Run:
    """Return a contender's pass.

    Raises:
        SystemExit: If it cannot run.
    """
    run = run_of(name, case)
    if isinstance(run, str):
        raise SystemExit(f"{name} is not run: {run}")
    return run


def cpu_seconds(run: Run) -> float:
    """Return the CPU time of one run."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    """Write the measurement."""
    parser = argparse.ArgumentParser(description="Measure the operator beyond its memory budget")
    parser.add_argument("--shape", default="1x12544x64", help="tokens BxNxC (default: %(default)s)")
    parser.add_argument("--budget", type=int, default=2**30, help="memory budget in bytes (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="file to write, .json")
    arguments = parser.parse_args()
    batch, tokens, channels = map(int, arguments.shape.split("x"))
    found = measure(Case(batch, tokens, channels, True, "cpu"), arguments.budget)
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
