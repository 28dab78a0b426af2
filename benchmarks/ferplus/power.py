"""Compute how many seeds the test of the arms needs: `python -m benchmarks.ferplus.power`.

The deviation of paired differences over seeds comes from the committed results of earlier runs, which compared networks
in pairs of equal seeds. They were shorter and were tested on fewer images, so the numbers are a plan, not a promise:
the protocol counts the seeds again from the deviation of its own first runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from scipy import stats

from benchmarks.ferplus.plan import PLAN
from benchmarks.ferplus.run import RESULTS

LEVEL = 0.05  # of the test, two-sided; of each of the two one-sided tests of equivalence
BOUND = 0.3  # percentage points of accuracy within which two arms count as equal
POWER = 0.8
SEEDS = range(3, 25)
DRAWS = 200_000
Measure = Literal["loss", "accuracy"]


def power_of_difference(seeds: int, effect: float) -> float:
    """Return the power of the paired t test over seeds.

    Args:
        seeds: Number of pairs.
        effect: True mean difference divided by the deviation of the differences.

    Example:
        >>> round(power_of_difference(12, 1.0), 2)
        0.88
    """
    freedom, shift = seeds - 1, effect * seeds**0.5
    critical = stats.t.ppf(1 - LEVEL / 2, freedom)
    return float(stats.nct.sf(critical, freedom, shift) + stats.nct.cdf(-critical, freedom, shift))


def power_of_equivalence(seeds: int, deviation: float, bound: float = BOUND, true: float = 0.0) -> float:
    """Return the probability that the 90% interval of the mean difference lies within the bound.

    Args:
        seeds: Number of pairs.
        deviation: Of the differences over seeds, in the unit of the bound.
        bound: Largest difference that counts as equal.
        true: True mean difference.

    Example:
        >>> round(power_of_equivalence(12, 0.3), 1), round(power_of_equivalence(12, 0.6), 1)
        (0.9, 0.1)
    """
    rng = np.random.default_rng(0)
    means = true + deviation * rng.standard_normal(DRAWS) / seeds**0.5
    errors = deviation * np.sqrt(rng.chisquare(seeds - 1, DRAWS) / (seeds - 1) / seeds)
    margins = stats.t.ppf(1 - LEVEL, seeds - 1) * errors
    return float(np.mean(np.abs(means) + margins < bound))


def seeds_for_equivalence(deviation: float) -> int | None:
    """Return the least number of seeds with enough power to show that equal arms are equal; None if none is enough."""
    return next((n for n in SEEDS if power_of_equivalence(n, deviation) >= POWER), None)


def paired_deviation(results: Path, measure: Measure) -> float:
    """Return the pooled deviation over seeds of warm conditions from their baselines, on official test images."""
    variances = []
    for condition in PLAN:
        for other in condition.against if condition.warm else ():
            pairs = [
                (_value(results, condition.name, s, measure), _value(results, other, s, measure)) for s in range(3)
            ]
            variances.append(np.var(np.subtract(*np.transpose(pairs)), ddof=1))
    return float(np.mean(variances) ** 0.5)


def _value(results: Path, condition: str, seed: int, measure: Measure) -> float:
    record = json.loads((results / f"{condition}-seed{seed}.json").read_text())
    return float(record["measures"]["test"][measure])


def main() -> None:
    """Print deviations and power."""
    console = Console(highlight=False, soft_wrap=True)
    points = 100 * paired_deviation(RESULTS, "accuracy")
    nats = paired_deviation(RESULTS, "loss")
    console.print(f"deviation of paired differences over seeds: accuracy {points:.2f} points, NLL {nats:.4f}")
    console.print("\nseeds   power for an NLL difference of 0.5, 1, 1.5 deviations")
    for seeds in (3, 5, 8, 12, 16, 24):
        cells = "  ".join(f"{power_of_difference(seeds, effect):.2f}" for effect in (0.5, 1.0, 1.5))
        console.print(f"{seeds:5d}   {cells}")
    console.print(f"\npower to show equality within {BOUND} points, if the arms are equal, by deviation in points")
    deviations = (0.2, 0.3, points, 0.5)
    console.print("seeds   " + "  ".join(f"{d:.2f}" for d in deviations))
    for seeds in (5, 8, 12, 16, 24):
        cells = "  ".join(f"{power_of_equivalence(seeds, deviation):.2f}" for deviation in deviations)
        console.print(f"{seeds:5d}   {cells}")
    console.print(f"\nseeds for power {POWER} by deviation: " + ", ".join(_needed(d) for d in deviations))


def _needed(deviation: float) -> str:
    seeds = seeds_for_equivalence(deviation)
    return f"{deviation:.2f}: {f'more than {SEEDS[-1]}' if seeds is None else seeds}"


if __name__ == "__main__":
    main()
