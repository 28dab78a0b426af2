"""A training step and an inference step, optimization by optimization, as tables and as JSON.

`python -m benchmarks.step --output step.json`, on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import qcs
from benchmarks.memory import high_water
from qcs.engine.training import SAM
from qcs.engine.training.hardware import keep_freed_memory, use_plain_attention
from qcs.engine.training.step import TrainingStep
from qcs.files import write_text
from qcs.losses import JointLoss
from qcs.models import CrossSimilarityNetwork, fast_inference_model

Row = dict[str, Any]
NETWORKS = {"qcs_ir50": (4, 224), "qcs_nano": (24, 48)}  # quadruplets per step, side of the images in pixels
PLAIN = "branch by branch, fp32"


@dataclass(frozen=True)
class Way:
    """One way to take a training step.

    Args:
        at_once: All branches in one batch.
        bf16: Autocast to bfloat16.
        compiled: The network compiled.
        batch_norm: Statistics per `"branch"` or `"joint"`.
        reuse: Freed memory is kept for the next step.
        fused: AdamW in one operator.
    """

    at_once: bool = False
    bf16: bool = False
    compiled: bool = False
    batch_norm: str = "branch"
    reuse: bool = False
    fused: bool = False


FAST = Way(at_once=True, reuse=True, fused=True)
WAYS = {
    PLAIN: Way(),
    "+ branches in one batch": Way(at_once=True),
    "+ freed memory reused": Way(at_once=True, reuse=True),
    "+ fused AdamW": FAST,
    "+ compiled": replace(FAST, compiled=True),
    "+ bf16": replace(FAST, bf16=True),
    "+ bf16, compiled": replace(FAST, bf16=True, compiled=True),
    "joint batch norm, bf16": replace(FAST, bf16=True, batch_norm="joint"),
    "branch by branch, bf16": Way(bf16=True),
}


def stepper(name: str, way: Way) -> Callable[[], None]:
    """What takes one step with SAM, both passes, on fixed images."""
    torch.manual_seed(0)
    anchors, side = NETWORKS[name]
    model = cast(CrossSimilarityNetwork, qcs.create_model(name, num_classes=8, batch_norm=way.batch_norm))
    model._branch_by_branch = not way.at_once
    use_plain_attention(model)
    model = model.to(memory_format=torch.channels_last).train()
    sam = SAM(torch.optim.AdamW(model.parameters(), lr=1e-5, fused=way.fused), 0.05)
    network = cast(nn.Module, torch.compile(model)) if way.compiled else model
    take = TrainingStep(network, sam, JointLoss(), Accelerator(cpu=True), bf16=way.bf16)
    images = [channels_last(torch.randn(anchors, 3, side, side)) for _ in range(4)]
    labels = torch.randint(8, (4, anchors))

    def step() -> None:
        take([(images, labels)])

    return step


def channels_last(images: Tensor) -> Tensor:
    """Images (B, C, H, W) with the channels innermost in memory, as training has them."""
    return images.contiguous(memory_format=torch.channels_last)


def training(name: str, ways: dict[str, Way], rounds: int) -> list[Row]:
    """Medians of interleaved steps: first of the ways that give freed memory back, then of those that keep it.

    Once memory is kept, which cannot be undone, it is kept for all; so the first are timed before the others.
    """
    rows: list[Row] = []
    for reuse in (False, True):
        chosen = {label: way for label, way in ways.items() if way.reuse == reuse}
        if reuse:
            keep_freed_memory()
        medians = interleaved({label: stepper(name, way) for label, way in chosen.items()}, rounds)
        rows += [{"network": name, "way": label, "seconds": seconds} for label, seconds in medians.items()]
    plain = rows[0]["seconds"]
    with FlopCounterMode(display=False) as counter:
        stepper(name, Way(at_once=True))()
    for row in rows:
        row["ratio"] = plain / row["seconds"]
        row["gflops"] = counter.get_total_flops() / row["seconds"] / 1e9
        row["megabytes"] = peak_memory(name, row["way"])
    return rows


def peak_memory(name: str, way: str) -> float:
    """Largest memory of a process that takes a step, in MB."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.step", "--memory-of", name, way], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def inference(name: str, rounds: int) -> list[Row]:
    """Latency at batch 1 and 32 of the network as trained and of the fast ones."""
    torch.manual_seed(0)
    side = NETWORKS[name][1]
    model = cast(CrossSimilarityNetwork, qcs.create_model(name, num_classes=8)).inference_model().eval()
    fast = {precision: fast_inference_model(model, cast(Any, precision)) for precision in ("fp32", "bf16")}
    rows: list[Row] = []
    for batch in (1, 32):
        images = torch.randn(batch, 3, side, side)
        ways: dict[str, Callable[[], object]] = {"as trained, fp32": partial(model, images)}
        for precision, network in fast.items():
            x = channels_last(images.bfloat16() if precision == "bf16" else images)
            ways[f"fast, {precision}"] = partial(network, x)
        with torch.inference_mode():
            medians = interleaved(ways, rounds)
        plain = medians["as trained, fp32"]
        rows += [
            {"network": name, "way": way, "batch": batch, "seconds": s, "ratio": plain / s, "images": batch / s}
            for way, s in medians.items()
        ]
    return rows


def interleaved(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each way, every way once per round."""
    taken: dict[str, list[float]] = {label: [] for label in ways}
    for run in ways.values():
        run(), run()
    for _ in range(rounds):
        for label, run in ways.items():
            start = time.perf_counter()
            run()
            taken[label].append(time.perf_counter() - start)
    return {label: statistics.median(seconds) for label, seconds in taken.items()}


def product_peak(dtype: torch.dtype) -> float:
    """GFLOP/s of large matrix products."""
    x = torch.randn(2048, 2048).to(dtype)
    with torch.inference_mode():
        seconds = interleaved({"product": lambda: x @ x}, 9)["product"]
    return 2 * 2048**3 / seconds / 1e9


def lines(rows: list[Row], columns: dict[str, str]) -> Iterator[str]:
    """A table in Markdown; `columns` gives each heading its format of a row."""
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(form.format(**row) for form in columns.values())} |"


def main() -> None:
    """Measure both steps of both networks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="step.json", help="file to write")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--network", choices=NETWORKS, action="append", help="again for more; default all")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        name, label = options.memory_of
        if WAYS[label].reuse:
            keep_freed_memory()
        stepper(name, WAYS[label])()
        print(high_water() / 2**20)
        return
    peaks = {name: product_peak(dtype) for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))}
    names = options.network or list(NETWORKS)
    trained = [row for name in names for row in training(name, WAYS, options.rounds)]
    inferred = [row for name in names for row in inference(name, 3 * options.rounds)]
    about = {"threads": options.threads, "torch": torch.__version__, "product_gflops": peaks}
    record = {**about, "training": trained, "inference": inferred}
    write_text(Path(options.output), json.dumps(record, indent=2) + "\n")
    print(f"matrix products: fp32 {peaks['fp32']:.0f} GFLOP/s, bf16 {peaks['bf16']:.0f}; {options.threads} threads\n")
    columns = {"network": "{network}", "training step": "{way}", "times as fast": "{ratio:.2f}"}
    print(*lines(trained, {**columns, "GFLOP/s": "{gflops:.0f}", "peak MB": "{megabytes:.0f}"}), sep="\n")
    columns = {"network": "{network}", "inference": "{way}", "batch": "{batch}", "times as fast": "{ratio:.2f}"}
    print("", *lines(inferred, {**columns, "images/s": "{images:.1f}"}), sep="\n")


if __name__ == "__main__":
    main()
