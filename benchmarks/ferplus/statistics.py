"""Compute the statistics of a few runs of each condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from qcs.report.statistics import adjusted

LEVEL = 0.05  # false discovery rate of differences called clear


class Spread(NamedTuple):
    """Mean and standard deviation (n - 1) of runs; the deviation of a single run is NaN."""

    mean: float
    deviation: float


class Difference(NamedTuple):
    """A condition minus its baseline, over the seeds that both have.

    Attributes:
        mean: Mean difference.
        error: Its standard error over seeds; NaN for one seed.
        margin: Half the width of its 95% confidence interval over seeds (t distribution); NaN for one seed.
        over_runs: p of the paired t test over seeds; NaN for one seed or equal differences.
        over_images: p of the paired test over test images; NaN if all differences are equal.
    """

    mean: float
    error: float
    margin: float
    over_runs: float
    over_images: float


def spread(values: Sequence[float]) -> Spread:
    """Return mean and standard deviation.

    Example:
        >>> spread([1.0, 2.0, 3.0])
        Spread(mean=2.0, deviation=1.0)
    """
    return Spread(float(np.mean(values)), _deviation(values))


def difference(
    values: Sequence[float],
    others: Sequence[float],
    correct: npt.NDArray[np.bool_],
    others_correct: npt.NDArray[np.bool_],
) -> Difference:
    """Compare two conditions, seed by seed and image by image.

    The claim concerns a training method, so runs are the sampling unit: the t test over seeds answers whether other
    runs would give the same result. Three seeds leave two degrees of freedom, so only large or steady differences are
    significant. The test over images answers a weaker question: whether these particular networks differ on other
    images. All seeds see the same images, so McNemar's tests of single seeds cannot be pooled as if they were
    independent. Each image counts once, by how many more seeds of one condition than of the other classified it
    correctly. For one seed this is close to McNemar's test, in its form for many images.

    Args:
        values: A measure of each seed's run.
        others: The same of the other condition.
        correct: Which images each run classified correctly, (seeds, images).
        others_correct: The same of the other condition.
    """
    by_seed = np.subtract(values, others)
    by_image = correct.mean(0) - others_correct.mean(0)
    several = len(by_seed) > 1 and np.ptp(by_seed) > 0
    error = _deviation(by_seed) / len(by_seed) ** 0.5
    return Difference(
        float(by_seed.mean()),
        error,
        error * float(stats.t.ppf(0.975, len(by_seed) - 1)) if len(by_seed) > 1 else float("nan"),
        float(stats.ttest_rel(values, others).pvalue) if several else float("nan"),
        float(stats.ttest_1samp(by_image, 0).pvalue) if np.ptp(by_image) > 0 else float("nan"),
    )


def clear(probabilities: Sequence[float]) -> list[bool]:
    """Return which differences of a table are significant after the Benjamini-Hochberg correction; NaN is not.

    Example:
        >>> clear([0.001, 0.04, 0.2])
        [True, False, False]
    """
    return [p < LEVEL for p in adjusted(np.nan_to_num(probabilities, nan=1).tolist())]


def _deviation(values: Sequence[float] | npt.NDArray[np.float64]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
