"""Runs to report on: two small ones that were trained, and made-up ones where only the figures matter."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from made_up import CLASSES, predictions

from qcs.engine.evaluation import Evaluation
from qcs.engine.training import train
from qcs.report.gather import Run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the runs `base` and `quadruplet` and the list `faces.csv` that they were trained on, with groups."""
    folder = tmp_path_factory.mktemp("runs")
    data = toy.table(folder / "faces.csv")
    header, *lines = data.read_text().splitlines()
    grouped = (f"{line},{'young' if row % 3 else 'old'},p{row // 2}" for row, line in enumerate(lines))
    toy.lines(data, [f"{header},group,subject", *grouped])
    for name, model in (("base", "base_nano"), ("quadruplet", "qcs_nano")):
        train(toy.settings(data, model=model, output=str(folder / name), epochs=2))
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to be corrupted."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))


Made = Callable[..., Run]


@pytest.fixture
def made() -> Made:
    """Makes a run of its settings and of what it predicts of six images, two of each class."""

    def make(name: str, predicted: list[int] | None, **settings: Any) -> Run:
        config = {"model": "base_nano", "data": "faces.npz", "lr": 0.001, "seed": 0, "output": name, **settings}
        run = Run(name, Path(name), {"config": config, "images": {"train": {}, "test": {}}})
        if predicted is not None:
            run.predictions = predictions(predicted)
            counts = np.zeros((3, 3), int)
            np.add.at(counts, (run.predictions.labels, run.predictions.predicted), 1)
            run.results = {"test": Evaluation(counts, 1.0, CLASSES)}
        return run

    return make
