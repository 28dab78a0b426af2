"""Estimate what class probabilities show: accuracy, calibration and likelihood, each with a 95% interval.

Intervals are percentiles of the bootstrap over images, or over people where they are known.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from qcs.engine.prediction_file import Predictions
from qcs.engine.reliability import BINS
from qcs.report.statistics import Statistic, Weights, accuracy, balanced_accuracy, bootstrap

LEAST = 1e-12  # probabilities below it count as this much in the likelihood


def estimates(shown: Predictions) -> dict[str, Any]:
    """Return the figures of a set of images, each `[value, low, high]`.

    Returns:
        `images`; `accuracy` and `balanced_accuracy` in [0, 1]; `nll`, the mean negative log-likelihood of the labels in
        nats; `ece`, expected calibration error in [0, 1]; `overconfidence`, mean confidence minus accuracy, negative
        where the network is less sure than it is right; and `per_class`, right and all images by class.
    """
    statistics = {
        "accuracy": accuracy(shown),
        "balanced_accuracy": balanced_accuracy(shown),
        "nll": mean_of(-np.log(_of_label(shown).clip(LEAST))),
        "ece": _calibration_error(shown),
        "overconfidence": mean_of(shown.confidence - shown.correct),
    }
    found = {name: bootstrap(value, len(shown.labels), shown.subjects) for name, value in statistics.items()}
    classes = [(name, shown.labels == index) for index, name in enumerate(shown.classes)]
    per_class = {name: [int(shown.correct[own].sum()), int(own.sum())] for name, own in classes if own.any()}
    figures = {name: [each.value, each.low, each.high] for name, each in found.items()}
    return {"images": len(shown.labels), **figures, "per_class": per_class}


def chosen(shown: Predictions, images: npt.NDArray[np.bool_]) -> Predictions:
    """Return the predictions for some of the images."""
    subjects = None if shown.subjects is None else shown.subjects[images]
    return Predictions(shown.probabilities[images], shown.labels[images], shown.names[images], shown.classes, subjects)


def at_temperature(shown: Predictions, temperature: float) -> Predictions:
    """Return the predictions with logits divided by a temperature; below 1 makes the network more certain."""
    logits = np.log(shown.probabilities.astype(np.float64).clip(LEAST)) / temperature
    powers = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = (powers / powers.sum(1, keepdims=True)).astype(np.float32)
    return Predictions(probabilities, shown.labels, shown.names, shown.classes, shown.subjects)


def best_temperature(shown: Predictions) -> float:
    """Return the temperature with the smallest negative log-likelihood of the labels (Guo et al., arXiv 1706.04599)."""

    def loss(log_temperature: float) -> float:
        scaled = at_temperature(shown, float(np.exp(log_temperature)))
        return float(-np.log(_of_label(scaled).clip(LEAST)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x))


def _of_label(shown: Predictions) -> npt.NDArray[np.float32]:
    """Return the probability of the true class of each image."""
    found: npt.NDArray[np.float32] = shown.probabilities[np.arange(len(shown.labels)), shown.labels]
    return found


def mean_of(values: npt.NDArray[Any]) -> Statistic:
    """Return the statistic for the mean of a value of each image."""

    def statistic(weights: Weights) -> npt.NDArray[np.float64]:
        mean: npt.NDArray[np.float64] = weights.astype(np.float64) @ values / weights.sum(1, dtype=np.float64)
        return mean

    return statistic


def _calibration_error(shown: Predictions) -> Statistic:
    """Return the statistic for the expected calibration error: mean |confidence - accuracy| over bins of confidence."""
    place = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], shown.confidence, side="right")
    gaps = (shown.confidence - shown.correct)[:, None] * (place[:, None] == np.arange(BINS))

    def statistic(weights: Weights) -> npt.NDArray[np.float64]:
        error: npt.NDArray[np.float64] = np.abs(weights @ gaps).sum(1) / weights.sum(1)
        return error

    return statistic
