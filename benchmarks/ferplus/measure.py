"""Measure trained weights: only the base network, as at inference, on images it was not trained on.

Some official test images are copies of training images. They are measured with the others, and left out in `unseen`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from timm.data import resolve_model_data_config
from torch.utils.data import DataLoader
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

from benchmarks.ferplus.corruptions import CORRUPTIONS, corrupted
from benchmarks.ferplus.data import Data
from qcs.data import LabeledImages, eval_transform
from qcs.engine import Evaluation, FlipTTA
from qcs.models import CrossSimilarityNetwork

BATCH = 256
BINS = 15  # of confidence, for the calibration error

Probabilities = npt.NDArray[np.float32]
"""Of every class, (n, classes)."""


def measure(model: CrossSimilarityNetwork, data: Data) -> dict[str, Any]:
    """Measure a network on FERPlus test images and on the other dataset.

    Returns:
        Evaluations `test`, `flipped` (with test-time augmentation), `unseen` (test images that are not copies of
        training images), `muxspace`, `muxspace_sources` (one per source) and one per corruption; `calibration_error`;
        and `predictions` for each test image.
    """
    test = data.official["test"]
    found = probabilities(model, test)
    return {
        "test": evaluation(found, test).to_dict(),
        "flipped": evaluation(probabilities(model, test, tta=True), test).to_dict(),
        "unseen": evaluation(found[data.unseen], test.subset(data.unseen)).to_dict(),
        "muxspace": elsewhere(model, data.muxspace).to_dict(),
        "muxspace_sources": {name: elsewhere(model, own).to_dict() for name, own in data.by_source().items()},
        **{name: evaluation(probabilities(model, with_corruption(test, name)), test).to_dict() for name in CORRUPTIONS},
        "calibration_error": calibration_error(found, test.labels),
        "predictions": packed(found, test.labels),
    }


@torch.inference_mode()
def probabilities(model: CrossSimilarityNetwork, images: LabeledImages, tta: bool = False) -> Probabilities:
    """Return class probabilities (n, classes), with test-time augmentation if `tta`."""
    batches = DataLoader(images.with_transform(eval_transform(resolve_model_data_config(model))), BATCH)
    classifier = FlipTTA(model).eval() if tta else model.eval()
    rows = [classifier(batch).float().softmax(-1) for batch, _ in batches]
    return torch.cat(rows).numpy()


def evaluation(found: Probabilities, images: LabeledImages) -> Evaluation:
    """Return the evaluation of probabilities (n, classes)."""
    labels = torch.from_numpy(images.labels)
    confusion = multiclass_confusion_matrix(torch.from_numpy(found), labels, num_classes=len(images.classes))
    loss = -np.log(found[np.arange(len(found)), images.labels].clip(1e-12)).mean()
    return Evaluation(confusion.numpy(), float(loss), images.classes)


def elsewhere(model: CrossSimilarityNetwork, images: LabeledImages) -> Evaluation:
    """Evaluate on another dataset by class names, among the classes that both have."""
    shared = [name for name in model.class_names if images.class_counts().get(name)]
    found = probabilities(model, images := images.with_classes(shared))
    found = found[:, [model.class_names.index(name) for name in shared]]
    return evaluation(found / found.sum(1, keepdims=True), images)


def with_corruption(images: LabeledImages, corruption: str) -> LabeledImages:
    """Return the images with a corruption."""
    pixels = corrupted(np.stack([np.asarray(image) for image in images.images]), corruption)
    return LabeledImages(pixels, images.labels, images.classes)


def calibration_error(found: Probabilities, labels: npt.NDArray[np.int64]) -> float:
    """Return the expected calibration error: mean |confidence - accuracy| over bins of confidence, in [0, 1]."""
    return float(
        multiclass_calibration_error(
            torch.from_numpy(found), torch.from_numpy(labels), num_classes=found.shape[1], n_bins=BINS, norm="l1"
        )
    )


def packed(found: Probabilities, labels: npt.NDArray[np.int64]) -> dict[str, str]:
    """Encode labels and predictions (a digit per image) and confidence (a byte per image, 255 for 1) as text."""
    confidence = np.rint(255 * found.max(1)).astype(np.uint8)
    return {
        "labels": _digits(labels.tolist()),
        "predicted": _digits(found.argmax(1).tolist()),
        "confidence": base64.b64encode(confidence.tobytes()).decode(),
    }


def correct(predictions: dict[str, str]) -> npt.NDArray[np.bool_]:
    """Return which test images were classified correctly, from the output of `packed`."""
    labels, predicted = (np.array(list(predictions[name])) for name in ("labels", "predicted"))
    return labels == predicted


def _digits(classes: Sequence[int]) -> str:
    return "".join(map(str, classes))  # there are no more than ten
