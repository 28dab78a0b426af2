"""How fast each condition trains here, to choose a budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from benchmarks.ferplus.data import Data
from benchmarks.ferplus.plan import Budget, Condition
from qcs.engine import train


def speeds(conditions: Iterable[Condition], data: Data, budget: Budget, seconds: float, console: Console) -> None:
    """Train each for a while and say how many image views a second it comes to, validation left out."""
    for condition in conditions:
        with TemporaryDirectory() as folder:
            splits = data.splits(condition.labels)
            config = budget.settings(condition, 0, len(splits["train"]), str(Path(folder) / "run"))
            history = train(dataclasses.replace(config, minutes=seconds / 60), splits).history
        views = sum(record["images_per_second"] for record in history) / len(history) * condition.passes
        console.print(f"{condition.name}: {views:,.0f} views per second", highlight=False)
