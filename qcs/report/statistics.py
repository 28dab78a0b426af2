"""Confidence intervals by bootstrap, paired tests over images, and tests over seeds.

All confidence intervals are 95% intervals. Images of one person are not independent, so the bootstrap resamples people
if they are known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qcs.engine.evaluation import wilson
from qcs.engine.prediction_file import Predictions

ROUNDS = 2000  # bootstrap samples
BLOCK = 100  # bootstrap samples at a time: their weights are (rounds, images)

Weights = npt.NDArray[np.float32]  # (rounds, n): how often each image was drawn
Statistic = Callable[[Weights], npt.NDArray[np.float64]]  # (rounds, n) to (rounds,)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% confidence interval."""

    value: float
    low: float
    high: float


def proportion(successes: int, total: int) -> Estimate:
    """Return a proportion in [0, 1] with its Wilson confidence interval."""
    return Estimate(successes / total, *wilson(successes, total))


def bootstrap(
    statistic: Statistic, images: int, subjects: npt.NDArray[np.str_] | None = None, seed: int = 0
) -> Estimate:
    """Return a statistic of all images with its bootstrap percentile interval.

    Args:
        statistic: Maps weights (rounds, n), how often each image was drawn, to values (rounds,); NaN if undefined.
        images: Number of images, n.
        subjects: The person on each image, (n,); if given, people are drawn, each with all their images.
        seed: Seed of the draws. Equal seeds give equal draws, which pairs the draws of two networks.

    Returns:
        The statistic of all images, each counted once, and its interval.
    """
    unit = np.arange(images) if subjects is None else np.unique(subjects, return_inverse=True)[1]
    units = int(unit.max()) + 1
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(ROUNDS // BLOCK):
        chosen = generator.integers(units, size=(BLOCK, units)) + units * np.arange(BLOCK)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=BLOCK * units).reshape(BLOCK, units)
        drawn.append(statistic(counts[:, unit].astype(np.float32)))
    values = np.concatenate(drawn)
    value = float(statistic(np.ones((1, images), np.float32))[0])
    values = values[~np.isnan(values)]
    low, high = np.quantile(values, (0.025, 0.975)) if values.size else (value, value)
    return Estimate(value, float(low), float(high))


def accuracy_of(predictions: Predictions, chosen: npt.NDArray[np.bool_] | None = None) -> Estimate:
    """Return the accuracy on the chosen images, or all; its interval is Wilson's, or by people if they are known."""
    if predictions.subjects is not None:
        return bootstrap(accuracy(predictions, chosen), len(predictions.labels), predictions.subjects)
    correct = predictions.correct if chosen is None else predictions.correct[chosen]
    return proportion(int(correct.sum()), len(correct))


def accuracy(predictions: Predictions, chosen: npt.NDArray[np.bool_] | None = None) -> Statistic:
    """Return the statistic for the accuracy on the chosen images, or all."""
    among = _among(predictions, chosen)
    right = among * predictions.correct

    def statistic(weights: Weights) -> npt.NDArray[np.float64]:
        return _ratio(weights @ right, weights @ among)

    return statistic


def balanced_accuracy(
    predictions: Predictions, chosen: npt.NDArray[np.bool_] | None = None, classes: npt.ArrayLike | None = None
) -> Statistic:
    """Return the statistic for the balanced accuracy on the chosen images, over their classes or the given ones."""
    present = np.unique(predictions.labels) if classes is None else np.asarray(classes)
    of_class = _among(predictions, chosen)[:, None] * (predictions.labels[:, None] == present)
    right = of_class * predictions.correct[:, None]

    def statistic(weights: Weights) -> npt.NDArray[np.float64]:
        recall = _ratio(weights @ right, weights @ of_class)
        held = ~np.isnan(recall)
        return _ratio(np.where(held, recall, 0).sum(1), held.sum(1))

    return statistic


def difference(first: Statistic, second: Statistic) -> Statistic:
    """Return the statistic for the first minus the second, over the same draws."""
    return lambda weights: first(weights) - second(weights)


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test: do two networks have equal accuracy on the same images?

    Attributes:
        only_first: Images that only the first network classifies correctly.
        only_second: Images that only the second does.
        p: p-value, two-sided.
    """

    only_first: int
    only_second: int
    p: float


def mcnemar(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> McNemar:
    """Compare two networks by McNemar's exact test.

    Args:
        first: Whether the first network classifies each image correctly, (n,).
        second: The same for the second network.

    Example:
        >>> mcnemar(np.array([True] * 6 + [False]), np.array([False] * 6 + [True]))
        McNemar(only_first=6, only_second=1, p=0.125)
    """
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differing = only_first + only_second
    p = float(binomtest(only_first, differing, 0.5).pvalue) if differing else 1.0
    return McNemar(only_first, only_second, p)


@dataclass(frozen=True)
class Welch:
    """Welch's t-test: do two configurations have equal mean results over seeds?"""

    difference: Estimate
    p: float


def welch(first: Sequence[float], second: Sequence[float]) -> Welch | None:
    """Compare two configurations by their results per seed; None if either has fewer than two seeds."""
    from scipy.stats import ttest_ind

    if min(len(first), len(second)) < 2 or not (np.std(first) or np.std(second)):
        return None
    test = ttest_ind(first, second, equal_var=False)
    low, high = test.confidence_interval(0.95)
    return Welch(Estimate(float(np.mean(first) - np.mean(second)), float(low), float(high)), float(test.pvalue))


def adjusted(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for multiple testing (false discovery rate, Benjamini-Hochberg)."""
    from scipy.stats import false_discovery_control

    return [float(value) for value in false_discovery_control(p)] if len(p) else []


def _among(predictions: Predictions, chosen: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.float32]:
    return np.ones(len(predictions.labels), np.float32) if chosen is None else chosen.astype(np.float32)


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Divide elementwise; NaN where the denominator is 0."""
    result = np.full(np.shape(part), np.nan)
    np.divide(part, whole, out=result, where=np.asarray(whole) > 0)
    return result
