"""Measure the cost of an image view in each condition on this machine, to choose a budget."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console

from benchmarks.ferplus.data import Data
from benchmarks.ferplus.plan import IMAGES_PER_STEP, ROUND, Budget, Condition
from qcs.data import LabeledImages
from qcs.engine.training import train

FEW, ROUNDS = 10, 3  # steps of the shorter run; number of timings of each condition


def speeds(conditions: Sequence[Condition], data: Data, network: str, steps: int, console: Console) -> None:
    """Print how many image views each condition trains per second of CPU time.

    CPU time excludes waiting, so other work on the machine has little effect; with one thread it is the seconds of one
    core. Subtracting a run of few steps from a run of more steps removes the cost of startup and shutdown. Conditions
    alternate; the median is reported.
    """
    found: dict[str, list[float]] = {condition.name: [] for condition in conditions}
    for _ in range(ROUNDS):
        for condition in conditions:
            found[condition.name].append(_views_per_second(condition, data, network, steps))
    for condition in conditions:
        views = float(np.median(found[condition.name]))
        console.print(f"{condition.name}: {views:,.0f} views per second", highlight=False)


def _views_per_second(condition: Condition, data: Data, network: str, steps: int) -> float:
    splits = data.splits(condition.labels)
    splits["validation"] = splits["validation"].subset(range(64))
    seconds = _seconds(condition, splits, network, FEW + steps) - _seconds(condition, splits, network, FEW)
    return steps * IMAGES_PER_STEP * condition.passes / seconds


def _seconds(condition: Condition, splits: Mapping[str, LabeledImages], network: str, steps: int) -> float:
    images = len(splits["train"])
    with TemporaryDirectory() as folder:
        config = Budget(ROUND, network).settings(condition, 0, images, str(Path(folder) / "run"))
        fraction = steps * (IMAGES_PER_STEP // condition.branches) / images
        config = dataclasses.replace(config, epochs=1, fraction=fraction)
        started = time.process_time()
        train(config, splits)
        return time.process_time() - started
