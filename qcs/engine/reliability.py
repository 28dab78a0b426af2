"""Measure whether probabilities can be taken at their word: calibration error, Brier score, likelihood."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from qcs.engine.prediction_file import Predictions
from qcs.imports import require

BINS = 15  # of confidence


@dataclass(frozen=True)
class Reliability:
    """Accuracy of a network by its confidence, in bins of equal width.

    Attributes:
        error: Expected calibration error (ECE) over the bins, in [0, 1].
        confidence: Mean confidence in each bin; NaN if the bin is empty.
        accuracy: Accuracy in each bin; NaN if the bin is empty.
        counts: Images in each bin.
    """

    error: float
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]


def reliability(predictions: Predictions) -> Reliability:
    """Compute accuracy and calibration error by the confidence, the probability of the predicted class."""
    error = calibration_error(torch.from_numpy(predictions.probabilities), torch.from_numpy(predictions.labels))
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    place = np.searchsorted(edges, predictions.confidence, side="right")
    counts = np.bincount(place, minlength=BINS)
    confidence = _mean(np.bincount(place, predictions.confidence, BINS), counts)
    correct = _mean(np.bincount(place, predictions.correct, BINS), counts)
    return Reliability(error, confidence, correct, counts)


@dataclass(frozen=True)
class RiskCoverage:
    """Share of wrong answers when only the most confident answers are given.

    Attributes:
        coverage: Share of the images that are answered, (n,), from 1 / n to 1.
        risk: Share of wrong answers among them, (n,).
        area: Mean of the risk over all coverages (AURC: Geifman and El-Yaniv, arXiv 1705.08500); lower is better.
    """

    coverage: npt.NDArray[np.float64]
    risk: npt.NDArray[np.float64]
    area: float


def risk_coverage(confidence: npt.NDArray[np.floating], correct: npt.NDArray[np.bool_]) -> RiskCoverage:
    """Return the share of wrong answers by the share of images that are answered, the most confident first.

    Args:
        confidence: Probability of the predicted class, (n,).
        correct: Whether it is the true class, (n,).

    Example:
        >>> risk_coverage(np.array([0.9, 0.6, 0.8]), np.array([True, False, True])).risk.round(3).tolist()
        [0.0, 0.0, 0.333]
    """
    order = np.argsort(-confidence, kind="stable")
    given = np.arange(1, len(order) + 1)
    risk = (~correct[order]).cumsum() / given
    return RiskCoverage(given / len(order), risk, float(risk.mean()))


@dataclass(frozen=True)
class ProbabilityScores:
    """How far probabilities are from the labels; lower is better.

    Attributes:
        ece: Expected calibration error, mean |confidence - accuracy| over bins of confidence, in [0, 1].
        brier: Brier score, mean squared distance of the probabilities from the one-hot label, in [0, 2].
        nll: Mean negative log-likelihood of the labels, in nats.

    Example:
        >>> import torch
        >>> scores = probability_scores(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
        >>> scores.ece, scores.brier, round(scores.nll, 4)
        (0.5, 0.5, 0.6931)
    """

    ece: float
    brier: float
    nll: float

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as plain values for JSON."""
        return asdict(self)


def probability_scores(logits: Tensor, labels: Tensor) -> ProbabilityScores:
    """Score the probabilities that a softmax makes of logits.

    Args:
        logits: (n, K).
        labels: Index of the true class, (n,).

    Raises:
        MissingExtraError: If torchmetrics is not installed.
    """
    probabilities = logits.double().softmax(-1)
    distance = probabilities - F.one_hot(labels, logits.shape[-1])
    return ProbabilityScores(
        calibration_error(probabilities.float(), labels),
        float(distance.square().sum(-1).mean()),
        float(F.cross_entropy(logits.double(), labels)),
    )


def calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """Return the expected calibration error of probabilities (n, K) and labels (n,), in [0, 1]."""
    require("torchmetrics", extra="train", purpose="calibration errors")
    from torchmetrics.functional.classification import multiclass_calibration_error

    return float(multiclass_calibration_error(probabilities, labels, probabilities.shape[-1], n_bins=BINS))


def _mean(sums: npt.NDArray[Any], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return means; NaN for an empty bin."""
    result = np.full(len(counts), np.nan)
    np.divide(sums, counts, out=result, where=counts > 0)
    return result
