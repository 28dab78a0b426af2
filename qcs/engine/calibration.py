"""Fit the calibration of weights on images that they were not trained on, and write it into their file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from timm.data import resolve_model_data_config
from torch import Tensor
from torch.nn import functional as F

from qcs.data.dataset import LabeledImages
from qcs.engine.conformal import risk_thresholds, set_thresholds
from qcs.engine.eval_data import evaluation_batches, evaluation_set
from qcs.engine.evaluation import WEIGHTS_TOO_LARGE
from qcs.engine.face_crop import warn_of_other_crop
from qcs.engine.prediction import default_device
from qcs.engine.prediction_file import Predictions
from qcs.engine.reliability import ProbabilityScores, probability_scores
from qcs.errors import InputError, check_choice
from qcs.models import Classifier, find_weights, load_model
from qcs.models.calibration import COVERAGES, RISKS, Calibration, fit_scaling
from qcs.models.weights import save_calibration

METHODS = ("temperature", "vector")
LEAST_IMAGES = 50  # fewer determine no temperature
SHARES = "shares"  # the vote rule whose soft targets are how the annotators voted


@dataclass(frozen=True)
class Calibrated:
    """A calibration and what it changes on the images that it was fitted on.

    Attributes:
        path: The weights file that states it.
        calibration: The calibration.
        note: How many images were left out and why; empty if none was.
        before: Scores of the uncalibrated probabilities.
        after: Scores of the calibrated ones.
    """

    path: Path
    calibration: Calibration
    note: str
    before: ProbabilityScores
    after: ProbabilityScores


def calibrate_weights(
    weights: str,
    data: str,
    split: str = "validation",
    *,
    method: str = "temperature",
    output: str | None = None,
    image_root: str | None = None,
    data_format: str | None = None,
) -> Calibrated:
    """Fit a calibration on a split of a dataset and write it into the weights file.

    Args:
        weights: Anything that names weights, see `find_weights`.
        data: Archive, folder or list file, see `qcs.data.read`; data with votes also calibrates their distribution.
        split: A split that the weights were neither trained nor tested on.
        method: `"temperature"` or `"vector"`, see `fit_scaling`.
        output: Weights file to write; None writes into the given file or run folder.
        image_root: Folder that the paths of a list file are relative to.
        data_format: Format of the data; None detects it.

    Raises:
        InputError: If weights or data cannot be read, there are too few images, or the weights are no file of the user
            and `output` is None.
        OSError: If the file cannot be written.
        MissingExtraError: If a package of the extra `train` is missing.
    """
    check_choice("method", method, METHODS)
    path = find_weights(weights)
    if output is None and not Path(weights).exists():
        raise InputError(f"{weights} is not a file or folder of yours; name a file to write with --output")
    if output is not None and Path(output).suffix != ".safetensors":
        raise InputError(f"the output is a weights file and must end in .safetensors, got {output}")
    model = load_model(path)
    split, images, note = evaluation_set(model, data, split, image_root, data_format, votes=SHARES)
    if len(images) < LEAST_IMAGES:
        raise InputError(f"{data} has {len(images)} images to calibrate with; expected at least {LEAST_IMAGES}")
    warn_of_other_crop(path, images, data)
    logits, labels = logits_of(model, images), torch.from_numpy(images.labels)
    calibration = fit(logits, images, method, Path(data).name, split)
    written = save_calibration(path, calibration, output)
    after = probability_scores(calibration.label(logits), labels)
    return Calibrated(written, calibration, note, probability_scores(logits, labels), after)


def fit(logits: Tensor, images: LabeledImages, method: str, data: str, split: str) -> Calibration:
    """Return the calibration of logits (n, K) for the images that they are of.

    Raises:
        InputError: If the images do not determine it.
    """
    labels = F.one_hot(torch.from_numpy(images.labels), logits.shape[-1])
    votes = None if images.soft is None else fit_scaling(logits, torch.from_numpy(images.soft), method)
    label = fit_scaling(logits, labels, method)
    shown = Predictions.of(images, label(logits))
    sets = set_thresholds(shown.probabilities, shown.labels, COVERAGES)
    risks = risk_thresholds(shown.confidence, shown.correct, RISKS)
    return Calibration(label, votes, data, split, len(images), tuple(sets), tuple(risks))


@torch.inference_mode()
def logits_of(model: Classifier, images: LabeledImages) -> Tensor:
    """Return the uncalibrated logits (n, K) of the base network, on the CPU.

    Raises:
        InputError: If they are not finite.
    """
    device = default_device()
    model = model.to(device).eval()
    batches = evaluation_batches(images, resolve_model_data_config(model))
    logits = torch.cat([model(batch.to(device)).float().cpu() for batch, _ in batches])
    if not logits.isfinite().all():
        raise InputError(f"the network gives logits that are not finite: {WEIGHTS_TOO_LARGE}")
    return logits.clone()  # outside inference mode, so that gradients can be taken
