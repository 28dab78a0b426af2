"""Write numbers, differences and test results as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qcs.report.compare import Pair
from qcs.report.statistics import Estimate


def percent(value: float | None) -> str:
    r"""Write a fraction in [0, 1] in percent.

    Example:
        >>> percent(0.12345), percent(None)
        ('12.3\xa0%', '–')
    """
    return "–" if value is None or math.isnan(value) else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def points(value: float) -> str:
    """Write a difference of two fractions in percentage points.

    Example:
        >>> points(0.012), points(-0.012), points(-0.0001)
        ('+1.2', '−1.2', '0.0')
    """
    if math.isnan(value):
        return "–"
    written = f"{100 * value:+.1f}"
    return "0.0" if float(written) == 0 else written.replace("-", "−")


def number(value: float) -> str:
    """Write a whole number with separated thousands."""
    return f"{value:,.0f}"


def probability(p: float) -> str:
    """Write the p-value of a test.

    Example:
        >>> probability(0.04321), probability(0.0000123)
        ('0.043', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def over_seeds(values: Sequence[float]) -> str:
    r"""Write the mean and the standard deviation of fractions, in percent; a single one as it is.

    Example:
        >>> over_seeds([0.7, 0.8]), over_seeds([0.7]), over_seeds([])
        ('75.0 ± 7.1\xa0%', '70.0\xa0%', '–')
    """
    if not values:
        return "–"
    mean = sum(values) / len(values)
    if len(values) == 1:
        return percent(mean)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return f"{100 * mean:.1f} ± {100 * deviation:.1f}\N{NO-BREAK SPACE}%"


def duration(seconds: float) -> str:
    """Write a wall time.

    Example:
        >>> duration(42), duration(912), duration(7500)
        ('42 s', '15 min', '2 h 5 min')
    """
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def tone(gap: Estimate) -> str:
    """Return the style of a table cell: whether the confidence interval of a gap is above or below zero."""
    return "good" if gap.low > 0 else "bad" if gap.high < 0 else ""


def verdict(pair: Pair) -> str:
    """Return one sentence on the comparison of two runs."""
    better, worse = (pair.first, pair.second) if pair.accuracy.value >= 0 else (pair.second, pair.first)
    if pair.adjusted >= 0.05:
        return (
            f"On these images the difference in accuracy between {pair.first.name} and {pair.second.name} is within "
            f"what chance makes of equally good networks (p\N{NO-BREAK SPACE}{_equals(pair.adjusted)})."
        )
    by = points(abs(pair.accuracy.value)).lstrip("+")
    return (
        f"On these images {better.name} is more accurate than {worse.name}, by {by} percentage points "
        f"(p\N{NO-BREAK SPACE}{_equals(pair.adjusted)}); other seeds may differ."
    )


def _equals(p: float) -> str:
    written = probability(p) if p < 0.001 else f"= {probability(p)}"
    return written.replace(" ", "\N{NO-BREAK SPACE}")
