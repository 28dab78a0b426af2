"""Evaluate a weights file on a dataset and write the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.data import resolve_model_data_config
from torch import Tensor

from qcs.engine.eval_data import evaluation_batches, evaluation_set
from qcs.engine.evaluation import Evaluation, evaluate
from qcs.engine.face_crop import warn_of_other_crop
from qcs.engine.prediction import default_device
from qcs.engine.reliability import ProbabilityScores, probability_scores
from qcs.engine.run_folder import RunFolder
from qcs.engine.tta import FlipTTA
from qcs.files import writing
from qcs.imports import require
from qcs.models import load_model
from qcs.models.calibration import CalibratedLogits, Calibration
from qcs.models.weights import find_weights


@dataclass(frozen=True)
class WeightsEvaluation:
    """Evaluation of a weights file on a split of a dataset.

    Attributes:
        weights: The weights file.
        data: The dataset, as given.
        split: The split, or `"all"`.
        tta: Whether test-time augmentation was used.
        note: How many images were left out and why; empty if none was.
        evaluation: The result, calibrated if the weights state a calibration.
        scores: Scores of the probabilities: `"uncalibrated"`, and `"calibrated"` if the weights state a calibration.
        calibration: That calibration; None without.
        folder: Where `save` writes by default: beside the weights if they were given as a path, otherwise the current
            folder, because neither the package nor the Hub's cache is a place for results.
    """

    weights: Path
    data: str
    split: str
    tta: bool
    note: str
    evaluation: Evaluation
    scores: dict[str, ProbabilityScores]
    calibration: Calibration | None
    folder: Path

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values for JSON."""
        scores = {name: found.to_dict() for name, found in self.scores.items()}
        calibration = None if self.calibration is None else self.calibration.to_dict()
        return {**self.evaluation.to_dict(), "probabilities": scores, "calibration": calibration}

    def save(self, folder: str | Path | None = None) -> tuple[Path, Path]:
        """Write the result as JSON and its confusion matrix as a figure.

        Args:
            folder: Folder to write to; None is the default folder.

        Returns:
            Paths of the JSON file and of the figure, `DATA-SPLIT[-tta].json` and `.png`.

        Raises:
            OSError: If a file cannot be written.
        """
        from qcs import visualize

        name = f"{Path(self.data).resolve().stem}-{self.split}" + ("-tta" if self.tta else "")
        target = Path(folder) if folder is not None else self.folder
        record = RunFolder(target).write_json(f"{name}.json", self.to_dict())
        figure = target / f"{name}.png"
        with writing(figure):
            matrix = visualize.confusion_matrices({name: self.evaluation.confusion}, self.evaluation.classes)
            visualize.save(matrix, figure)
        return record, figure


def evaluate_weights(
    weights: str,
    data: str,
    split: str = "test",
    *,
    image_root: str | None = None,
    data_format: str | None = None,
    tta: bool = False,
) -> WeightsEvaluation:
    """Evaluate weights on a split of a dataset; classes are matched by name.

    Args:
        weights: Anything that names weights, see `find_weights`.
        data: Archive, folder or list file, see `qcs.data.read`.
        split: `"train"`, `"validation"`, `"test"` or `"all"`.
        image_root: Folder that the paths of a list file are relative to.
        data_format: Format of the data; None detects it.
        tta: Whether to use test-time augmentation, see `FlipTTA`.

    Raises:
        InputError: If weights or data cannot be read, or if they share no class.
        MissingExtraError: If a package of the extra `train` is missing.
    """
    require("torchmetrics", extra="train", purpose="evaluation")
    path = find_weights(weights)
    model = load_model(path)
    split, images, note = evaluation_set(model, data, split, image_root, data_format)
    warn_of_other_crop(path, images, data)
    device = default_device()
    batches = evaluation_batches(images, resolve_model_data_config(model))
    classifier = FlipTTA(model) if tta else model
    collected: list[Tensor] = []
    result = evaluate(classifier.to(device), batches, model.class_names, device, collected)
    logits, labels = torch.cat(collected).cpu(), torch.from_numpy(images.labels)
    scores = {"uncalibrated": probability_scores(logits, labels)}
    if model.calibration is not None:
        result = evaluate(CalibratedLogits(model.calibration.label), [(logits, labels)], model.class_names)
        scores["calibrated"] = probability_scores(model.calibration.label(logits), labels)
    folder = path.parent if Path(weights).exists() else Path()
    return WeightsEvaluation(path, data, split, tta, note, result, scores, model.calibration, folder)
