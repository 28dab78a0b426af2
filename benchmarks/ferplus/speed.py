"""What an image view costs in each condition here, to choose a budget."""

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

FEW, ROUNDS = 10, 3  # steps of the shorter training; how often each condition is timed


def speeds(conditions: Sequence[Condition], data: Data, network: str, steps: int, console: Console) -> None:
    """Say how many image views a second of processor time each condition trains.

    Counted is the time that the process computed, not that it waited, so other work on the machine hardly shows: with
    one thread, the seconds of one core. A training of more steps less one of few leaves out what every run begins and
    ends with. Conditions take turns; the median counts.
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
