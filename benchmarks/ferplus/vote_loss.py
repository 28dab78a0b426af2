"""Measure predictions against vote shares: negative log-likelihood after a temperature, and what it is made of."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

Array = npt.NDArray[np.float64]
LOG_RANGE = (-3.0, 3.0)  # of the logarithm of a temperature


def vote_losses(logits: npt.ArrayLike, shares: npt.ArrayLike, temperature: float = 1.0) -> Array:
    """Return the negative log-likelihood of the votes in nats, (..., n).

    Args:
        logits: (..., n, classes).
        shares: Vote shares, (n, classes).
        temperature: Divides the logits.

    Example:
        >>> vote_losses([[0.0, 0.0]], [[0.5, 0.5]]).round(4).tolist()
        [0.6931]
    """
    log_probabilities = log_softmax(np.asarray(logits, np.float64) / temperature, axis=-1)
    return -np.asarray((log_probabilities * np.asarray(shares)).sum(-1), np.float64)


def fitted_temperature(logits: npt.ArrayLike, shares: npt.ArrayLike) -> float:
    """Return the temperature with the least mean negative log-likelihood of the votes.

    Args:
        logits: (..., n, classes).
        shares: Vote shares, (n, classes).

    Example:
        >>> sure = np.log([[0.5, 0.5], [0.75, 0.25]]) * 3
        >>> round(fitted_temperature(sure, [[0.5, 0.5], [0.75, 0.25]]), 3)
        3.0
    """
    found = minimize_scalar(
        lambda log: float(vote_losses(logits, shares, np.exp(log)).mean()), bounds=LOG_RANGE, method="bounded"
    )
    return float(np.exp(found.x))


def cross_fitted_losses(logits: npt.NDArray[np.float32], shares: npt.NDArray[np.float32]) -> Array:
    """Return vote losses (..., n); the temperature of every second image is fitted on the others.

    Args:
        logits: (..., n, classes).
        shares: Vote shares, (n, classes).
    """
    losses = np.empty(logits.shape[:-1])
    for part in (0, 1):
        own, other = slice(part, None, 2), slice(1 - part, None, 2)
        temperature = fitted_temperature(logits[..., other, :], shares[other])
        losses[..., own] = vote_losses(logits[..., own, :], shares[own], temperature)
    return losses


def packed(values: npt.ArrayLike) -> str:
    """Encode numbers (n,) as text, in single precision.

    Example:
        >>> unpacked(packed([0.5, 2.0])).tolist()
        [0.5, 2.0]
    """
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def unpacked(text: str) -> Array:
    """Decode the output of `packed`."""
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float64)


def balanced_accuracy(right: npt.ArrayLike, labels: npt.NDArray[np.int64]) -> float:
    """Return the mean over classes of the share of right predictions.

    Args:
        right: Whether, or in which share of draws, each image is classified correctly, (n,).
        labels: Class of each image, (n,).

    Example:
        >>> balanced_accuracy([1, 1, 0], np.array([0, 0, 1]))
        0.5
    """
    values = np.asarray(right, np.float64)
    return float(np.mean([values[labels == label].mean() for label in np.unique(labels)]))


def interval(differences: npt.ArrayLike) -> Mapping[str, float]:
    """Return the mean of differences (n,) and half the width of its 95% confidence interval, by the normal law.

    Example:
        >>> interval([1.0, 3.0])["mean"]
        2.0
    """
    values = np.asarray(differences, np.float64)
    return {"mean": float(values.mean()), "margin": float(1.959964 * values.std(ddof=1) / len(values) ** 0.5)}
