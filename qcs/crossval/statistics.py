"""Compare networks over repeats that share training images: the corrected t-test, and Holm's correction for many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.05


@dataclass(frozen=True)
class PairedTest:
    """Two networks compared over the same repeats.

    Attributes:
        difference: Mean difference, first minus second.
        low: Lower end of its 95% confidence interval; NaN where undefined.
        high: Upper end.
        p: p-value, two-sided; NaN where undefined: fewer than two repeats, or equal differences in all.
        repeats: Number of repeats.
    """

    difference: float
    low: float
    high: float
    p: float
    repeats: int


def corrected_t_test(first: Sequence[float], second: Sequence[float], overlap: float = 0.0) -> PairedTest:
    """Compare two networks by a paired t-test that accounts for overlapping training sets.

    Repeats that draw their training images from one pool are not independent, so the usual t-test finds differences
    far too often. Nadeau and Bengio (Machine Learning 52, 2003) replace the factor 1/J of the variance over J repeats
    by 1/J + n_test/n_train.

    Args:
        first: A figure of the first network in each repeat.
        second: The same of the second network, on the same splits.
        overlap: Test images per training image, n_test/n_train. 0 gives the usual paired t-test: for repeats that
            differ by their seed alone, on one test set.

    Example:
        >>> usual, corrected = (corrected_t_test([0.8, 0.82, 0.81], [0.78, 0.79, 0.8], of) for of in (0, 1 / 3))
        >>> round(usual.p, 3), round(corrected.p, 3)
        (0.074, 0.134)
    """
    from scipy.stats import t

    differences = np.subtract(first, second)
    repeats, mean = len(differences), float(np.mean(differences)) if len(differences) else math.nan
    deviation = float(np.std(differences, ddof=1)) if repeats > 1 else 0.0
    if deviation < 1e-12:  # of rounding alone
        return PairedTest(mean, math.nan, math.nan, math.nan, repeats)
    error = deviation * math.sqrt(1 / repeats + overlap)
    margin = error * float(t.ppf(1 - LEVEL / 2, repeats - 1))
    p = 2 * float(t.sf(abs(mean) / error, repeats - 1))
    return PairedTest(mean, mean - margin, mean + margin, p, repeats)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for multiple testing (Holm, 1979), which keeps the chance of any false finding.

    An undefined one (NaN) stays undefined, but counts as a test.

    Example:
        >>> [round(value, 3) for value in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    adjusted, largest = [math.nan] * len(p), 0.0
    defined = sorted((value, place) for place, value in enumerate(p) if not math.isnan(value))
    for rank, (value, place) in enumerate(defined):
        largest = max(largest, min(1.0, (len(p) - rank) * value))
        adjusted[place] = largest
    return adjusted


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation (n − 1); NaN where undefined.

    Example:
        >>> spread([1.0, 2.0, 3.0])
        (2.0, 1.0)
    """
    mean = float(np.mean(values)) if len(values) else math.nan
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
