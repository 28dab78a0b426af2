"""Collect what is known about weights: their metadata, and the settings and results of their run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qcs.engine.evaluation import Evaluation
from qcs.engine.run_folder import RunFolder
from qcs.engine.training.config import TrainConfig
from qcs.engine.training.settings import published
from qcs.models.weights import find_weights, read_config

SPLITS = ("test", "validation")


@dataclass(frozen=True)
class Record:
    """Weights and what is known about them; nothing else is published.

    Attributes:
        weights: The weights file.
        info: Metadata of the file: epoch, validation accuracy, ...
        run: What the run started with, see `RunFolder.read_config`; empty if unknown.
        scores: Evaluations of these weights by split.
    """

    weights: Path
    info: dict[str, Any]
    run: dict[str, Any]
    scores: dict[str, Evaluation]

    @property
    def data(self) -> str | None:
        """Name of the training data, without its folders; None if unknown."""
        return Path(self.run["config"]["data"]).stem if self.run else None

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the training that may be published; empty if unknown."""
        return published(TrainConfig, self.run.get("config", {}))


def read_record(source: str | Path) -> Record:
    """Collect the weights of a run with its settings and results; of a weights file alone, its metadata.

    Raises:
        InputError: If there are no weights, or a file of the run is corrupt.
    """
    weights = find_weights(source)
    record = Record(weights, read_config(weights)["info"], {}, {})
    if not Path(source).is_dir():  # other files beside a single weights file may belong to other weights
        return record
    folder = RunFolder(source)
    run = folder.read_config() if folder.started else {}  # an interrupted run may lack any of its files
    scores = {split: folder.read_evaluation(split) for split in SPLITS if folder.has_evaluation(split)}
    return dataclasses.replace(record, run=run, scores=scores)
