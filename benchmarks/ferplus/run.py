"""Run the conditions and seeds that have no result yet; interrupted runs resume."""

from __future__ import annotations

import dataclasses
import json
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import timm
import torch
import torchvision
from rich.console import Console

import qcs
from benchmarks.ferplus import measure, shortcut
from benchmarks.ferplus.data import Data
from benchmarks.ferplus.looks import look
from benchmarks.ferplus.plan import IMAGES_PER_STEP, Budget, Condition, chosen
from qcs.engine.run_folder import RunFolder
from qcs.engine.training import TrainConfig, resume, train
from qcs.engine.training.checkpoints import Checkpoints
from qcs.errors import InputError
from qcs.files import sha256, write_text
from qcs.models import load_model

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Experiment:
    """The inputs and outputs of the runs of one budget.

    Args:
        data: The images.
        budget: The compute of every run.
        results: Folder of one JSON file per run.
        runs: Folder of the run folders, which hold the weights.
        console: Where to print progress.
    """

    data: Data
    budget: Budget
    results: Path
    runs: Path
    console: Console

    def run(self, jobs: Iterable[tuple[Condition, int]], minutes: float = float("inf")) -> None:
        """Run the jobs that have no result yet.

        Args:
            jobs: Conditions and seeds, in order.
            minutes: Start no more runs after this many.

        Raises:
            InputError: If the folder has results of another budget.
        """
        started = time.perf_counter()
        for condition, seed in jobs:
            if self._is_done(condition, seed):
                self._say(condition, seed, "done before")
            elif time.perf_counter() - started >= 60 * minutes:
                self._say(condition, seed, "not started: out of time")
            else:
                record = self.run_one(condition, seed)
                self._say(condition, seed, f"{_summary(record)}, trained in {record['seconds']:.0f} s")

    def run_one(self, condition: Condition, seed: int) -> dict[str, Any]:
        """Train or resume, measure, and write the record."""
        with look(
            self.results, "benchmarks.ferplus run", None, f"{_name(condition, seed)}: training, then test"
        ) as seen:
            record = self._measured(condition, seed)
            seen["weights"] = record["weights"]
            seen |= _shown(record["measures"])
        write_text(self._result(condition, seed), json.dumps(record, indent=1) + "\n")
        return record

    def _measured(self, condition: Condition, seed: int) -> dict[str, Any]:
        """Train or resume, measure, and return the record."""
        splits = self.data.splits(condition.labels)
        start = self._start() if condition.warm else None
        output = str(self.runs / _name(condition, seed))
        config = self.budget.settings(condition, seed, len(splits["train"]), output, start)
        folder = trained(config, splits)
        model = load_model(folder.best)
        if condition.labels == "synthetic":
            measured = shortcut.measure(model, self.data.synthetic)
        else:
            measured = measure.measure(model.inference_model(), self.data)
        return {
            "condition": condition.name,
            "seed": seed,
            "budget": dataclasses.asdict(self.budget),
            "views": self.budget.views_of(condition),
            "steps": self.budget.steps(condition),
            "images_per_step": IMAGES_PER_STEP,
            "passes": condition.passes,
            **_metadata(folder),
            "start": sha256(RunFolder(start).best) if start else None,
            "data": dict(self.data.hashes(condition.labels)),
            "threads": torch.get_num_threads(),
            "machine": {"processor": platform.machine(), "capability": torch.backends.cpu.get_cpu_capability()},
            "versions": versions(),
            "weights": sha256(folder.best),
            "measures": measured,
        }

    def _start(self) -> str:
        """Return the run folder of the shared initial weights; train them first if they are missing."""
        (start,) = chosen(["start"])
        if not self._is_done(start, 0):
            self.run_one(start, 0)
        if not RunFolder(self.runs / _name(start, 0)).best.exists():
            raise InputError(
                f"the initial weights are missing from {self.runs}, and new ones would not be comparable with finished "
                f"runs; choose other folders with --results and --runs"
            )
        return str(self.runs / _name(start, 0))

    def _is_done(self, condition: Condition, seed: int) -> bool:
        path = self._result(condition, seed)
        if not path.exists():
            return False
        budget = json.loads(path.read_text())["budget"]
        if budget != dataclasses.asdict(self.budget):
            raise InputError(f"{path} has another budget, {budget}; choose another folder with --results and --runs")
        return True

    def _result(self, condition: Condition, seed: int) -> Path:
        return self.results / f"{_name(condition, seed)}.json"

    def _say(self, condition: Condition, seed: int, what: str) -> None:
        self.console.print(f"{_name(condition, seed)}: {what}", markup=False, highlight=False, soft_wrap=True)


def trained(config: TrainConfig, splits: dict[str, Any]) -> RunFolder:
    """Return the folder of a finished run: started, resumed, or already finished.

    Raises:
        InputError: If the folder holds a run with other settings.
    """
    folder = RunFolder(str(config.output))
    if folder.started:
        begun_with = folder.read_config()["config"]
        if begun_with != config.to_dict():
            raise InputError(f"{folder.path} holds a run with other settings; choose another folder with --runs")
        if Checkpoints(folder.checkpoints):
            resume(folder.path, splits)
        if folder.finished:
            return folder
    folder.discard()  # it ended before its first checkpoint
    train(config, splits)
    return folder


def _metadata(folder: RunFolder) -> dict[str, Any]:
    """Return the metadata of a run folder, without paths."""
    begun, history = folder.read_config(), folder.read_history()
    best = max(history, key=lambda record: record["validation_accuracy"])
    return {
        "config": {name: value for name, value in begun["config"].items() if name not in ("output", "init")},
        "precision": begun["precision"],
        "images": begun["images"],
        "model_args": begun["model_args"],
        "seconds": history[-1]["seconds"],
        "best_epoch": best["epoch"],
        "history": history,
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on, and of Python."""
    packages = (qcs, torch, torchvision, timm, numpy)
    return {**{package.__name__: package.__version__ for package in packages}, "python": platform.python_version()}


def _name(condition: Condition, seed: int) -> str:
    return f"{condition.name}-seed{seed}"


def _shown(measures: dict[str, Any]) -> dict[str, float]:
    """Return the figures of the test set for the log of looks."""
    if "test" in measures:
        return {name: measures["test"][name] for name in ("accuracy", "balanced_accuracy", "loss")}
    return {name: measures[name] for name in ("coinciding", "conflicting")}


def _summary(record: dict[str, Any]) -> str:
    measures = record["measures"]
    if "test" in measures:
        return f"accuracy {measures['test']['accuracy']:.2%}, balanced {measures['test']['balanced_accuracy']:.2%}"
    return f"coinciding {measures['coinciding']:.2%}, conflicting {measures['conflicting']:.2%}"
