"""What is known of some weights from the files of the run that made them; nothing else is published about them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qcs.engine.evaluation import Evaluation
from qcs.engine.run_folder import RunFolder
from qcs.models.weights import find_weights, read_config

SPLITS = ("test", "validation")
SETTINGS = (
    "init",
    "backbone",
    "pretrained_backbone",
    "freeze_backbone",
    "crop",
    "votes",
    "soft_labels",
    "teacher_share",
    "epochs",
    "minutes",
    "batch_size",
    "images_per_step",
    "accumulate",
    "lr",
    "schedule",
    "layer_decay",
    "weight_decay",
    "sam_rho",
    "clip_grad",
    "ema",
    "patience",
    "distillation",
    "label_smoothing",
    "class_weights",
    "balance",
    "negatives",
    "fraction",
    "resize",
    "rotation",
    "scale",
    "erasing",
    "color_jitter",
    "seed",
)  # of a training, those that say how the weights came about; none of them is a path


@dataclass(frozen=True)
class Record:
    """Weights and what is known of them.

    Attributes:
        weights: The weights file.
        info: What the file says beside its network: epoch, validation accuracy, ...
        run: The settings and circumstances of the run; empty where they are unknown.
        scores: Results by split, of these very weights.
    """

    weights: Path
    info: dict[str, Any]
    run: dict[str, Any]
    scores: dict[str, Evaluation]

    @property
    def data(self) -> str | None:
        """Name of the training data, without the folders that it lay in; None if unknown."""
        return Path(self.run["config"]["data"]).stem if self.run else None

    @property
    def settings(self) -> dict[str, Any]:
        """How the weights were trained; empty if unknown."""
        config = self.run.get("config", {})
        told = {name: config[name] for name in SETTINGS if name in config}
        if teachers := config.get("teachers"):
            return {**told, "teachers": len(teachers)}
        return {name: value for name, value in told.items() if name != "teacher_share"}


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
