"""How far a figure can be trusted: intervals by bootstrap, paired tests over images, tests over seeds.

Every interval is of 95 %. Images of one person are no independent draws, so where the people are known the bootstrap
draws people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qcs.engine.evaluation import wilson
from qcs.engine.prediction_file import Predictions

ROUNDS = 2000
BLOCK = 100  # rounds at a time: weights are (rounds, images)
BINS = 15

Weights = npt.NDArray[np.float32]  # (rounds, n): how often each image counts
Statistic = Callable[[Weights], npt.NDArray[np.float64]]  # (rounds, n) to (rounds,)


@dataclass(frozen=True)
class Estimate:
    """A figure and the interval that holds the true one with 95 %."""

    value: float
    low: float
    high: float


def share(right: int, total: int) -> Estimate:
    """A share with Wilson's interval."""
    return Estimate(right / total, *wilson(right, total))


def bootstrap(
    statistic: Statistic, images: int, subjects: npt.NDArray[np.str_] | None = None, seed: int = 0
) -> Estimate:
    """A statistic of all images with its percentile interval.

    Args:
        statistic: From how often each image counts, (rounds, n), to a figure per round; NaN where it has none.
        images: How many images there are, n.
        subjects: Who is on each, (n,): people are drawn then, with all their images.
        seed: Decides the draws; equal seeds draw alike, so that differences between networks are paired.

    Returns:
        The statistic with every image counted once, and its interval.
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


def accuracy_of(shown: Predictions, chosen: npt.NDArray[np.bool_] | None = None) -> Estimate:
    """Accuracy over the chosen images, or all: Wilson's interval, or that of drawing people where they are known."""
    if shown.subjects is not None:
        return bootstrap(accuracy(shown, chosen), len(shown.labels), shown.subjects)
    correct = shown.correct if chosen is None else shown.correct[chosen]
    return share(int(correct.sum()), len(correct))


def accuracy(shown: Predictions, chosen: npt.NDArray[np.bool_] | None = None) -> Statistic:
    """Accuracy over the chosen images, or all."""
    among = _among(shown, chosen)
    right = among * shown.correct

    def statistic(weights: Weights) -> npt.NDArray[np.float64]:
        return _ratio(weights @ right, weights @ among)

    return statistic


def balanced_accuracy(
    shown: Predictions, chosen: npt.NDArray[np.bool_] | None = None, classes: npt.ArrayLike | None = None
) -> Statistic:
    """Mean accuracy over the classes that have chosen images, or over those of the given indices that do."""
    present = np.unique(shown.labels) if classes is None else np.asarray(classes)
    of_class = _among(shown, chosen)[:, None] * (shown.labels[:, None] == present)
    right = of_class * shown.correct[:, None]

    def statistic(weights: Weights) -> npt.NDArray[np.float64]:
        recall = _ratio(weights @ right, weights @ of_class)
        held = ~np.isnan(recall)
        return _ratio(np.where(held, recall, 0).sum(1), held.sum(1))

    return statistic


def difference(first: Statistic, second: Statistic) -> Statistic:
    """The first less the second, over the same draws."""
    return lambda weights: first(weights) - second(weights)


@dataclass(frozen=True)
class McNemar:
    """The exact test of whether two networks classify the same images equally often correctly.

    Attributes:
        only_first: Images that only the first network classifies correctly.
        only_second: Images that only the second does.
        p: Probability of counts as unequal as these or more, were the networks equally good.
    """

    only_first: int
    only_second: int
    p: float


def mcnemar(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> McNemar:
    """Compare two networks by which of the same images they classify correctly, (n,) each.

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
    """Welch's t-test of whether two configurations are equally good on average over seeds."""

    difference: Estimate
    p: float


def welch(first: Sequence[float], second: Sequence[float]) -> Welch | None:
    """Compare the results of two configurations, a figure per seed; None with fewer than two seeds of either."""
    from scipy.stats import ttest_ind

    if min(len(first), len(second)) < 2 or not (np.std(first) or np.std(second)):
        return None
    test = ttest_ind(first, second, equal_var=False)
    low, high = test.confidence_interval(0.95)
    return Welch(Estimate(float(np.mean(first) - np.mean(second)), float(low), float(high)), float(test.pvalue))


def adjusted(p: Sequence[float]) -> list[float]:
    """Probabilities of several tests, adjusted so that the share of false findings is limited (Benjamini-Hochberg)."""
    from scipy.stats import false_discovery_control

    return [float(value) for value in false_discovery_control(p)] if len(p) else []


@dataclass(frozen=True)
class Calibration:
    """Whether a network is right as often as it is sure.

    Attributes:
        error: Expected calibration error (ECE) over the bins, in [0, 1].
        confidence: Mean probability of the predicted class in each bin; NaN where it is empty.
        accuracy: Share of correct images in each bin; NaN where it is empty.
        counts: Images in each bin.
    """

    error: float
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]


def calibration(shown: Predictions) -> Calibration:
    """Calibration over bins of equal width of the predicted class's probability."""
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    error = multiclass_calibration_error(
        torch.from_numpy(shown.probabilities), torch.from_numpy(shown.labels), len(shown.classes), n_bins=BINS
    )
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    place = np.searchsorted(edges, shown.confidence, side="right")
    counts = np.bincount(place, minlength=BINS)
    confidence = _ratio(np.bincount(place, shown.confidence, BINS), counts)
    correct = _ratio(np.bincount(place, shown.correct, BINS), counts)
    return Calibration(float(error), confidence, correct, counts)


def _among(shown: Predictions, chosen: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.float32]:
    return np.ones(len(shown.labels), np.float32) if chosen is None else chosen.astype(np.float32)


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Their quotient; NaN of nothing."""
    result = np.full(np.shape(part), np.nan)
    np.divide(part, whole, out=result, where=np.asarray(whole) > 0)
    return result
