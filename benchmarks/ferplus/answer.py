"""Apply the tests of the protocol in docs/experiment.md to the runs that exist, and count those that are missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

from benchmarks.ferplus.arms import ARMS, SCARCE, SCARCE_SEEDS, SEEDS, Arm
from benchmarks.ferplus.power import BOUND, LEVEL, seeds_for_equivalence
from benchmarks.ferplus.power import SEEDS as POSSIBLE_SEEDS
from benchmarks.ferplus.tables import table

REESTIMATED_AFTER = 6  # seeds
MAIN: tuple[Arm, Arm] = ("exemplars", "sham")
SECONDARY: tuple[tuple[Arm, Arm], ...] = (("sham", "base"), ("label-drawn", "sham"), ("label-drawn", "base"))
Measure: TypeAlias = Literal["nll", "accuracy", "balanced_accuracy"]
MEASURES: tuple[Measure, ...] = ("nll", "accuracy", "balanced_accuracy")
Runs: TypeAlias = dict[tuple[str, int, int], dict[str, float]]
"""Measures of validation and test images together, by arm, percent and seed."""


class Compared(NamedTuple):
    """Differences of two arms over the seeds that both have, accuracies in points.

    Attributes:
        seeds: Number of pairs.
        mean: Mean difference; NaN without a pair.
        margin: Half the width of its 95% confidence interval; NaN for fewer than two pairs.
        narrow: The same of the 90% interval, for the test of equivalence.
        p: Of the paired t test; NaN for fewer than two pairs, or equal differences.
    """

    seeds: int
    mean: float
    margin: float
    narrow: float
    p: float


def read(results: Path) -> Runs:
    """Return the measures of all finished runs."""
    records: list[dict[str, Any]] = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))]
    return {(each["arm"], each["percent"], each["seed"]): each["measures"]["both"] for each in records}


def compared(runs: Runs, first: Arm, second: Arm, measure: Measure, percent: int = 100, seeds: int = 24) -> Compared:
    """Compare two arms.

    Args:
        runs: The finished runs.
        first: The arm that the difference begins with.
        second: The arm that is subtracted.
        measure: What is compared.
        percent: Training images used, in percent.
        seeds: Seeds from this number on are left out.
    """
    return of_differences(_differences(runs, first, second, measure, percent, seeds))


def of_differences(differences: npt.NDArray[np.float64]) -> Compared:
    """Return mean, intervals and p of differences over seeds.

    Example:
        >>> of_differences(np.array([1.0, 2.0, 3.0])).mean
        2.0
    """
    count, nan = len(differences), float("nan")
    if count < 2:
        return Compared(count, float(differences.mean()) if count else nan, nan, nan, nan)
    error = float(differences.std(ddof=1)) / count**0.5
    wide, narrow = (error * float(stats.t.ppf(1 - tail, count - 1)) for tail in (LEVEL / 2, LEVEL))
    p = float(stats.ttest_1samp(differences, 0).pvalue) if error > 0 else nan
    return Compared(count, float(differences.mean()), wide, narrow, p)


def planned_seeds(runs: Runs) -> int:
    """Return the number of seeds that the stopping rule asks for, given the runs so far."""
    points = _differences(runs, *MAIN, "accuracy", 100, REESTIMATED_AFTER)
    if len(points) < REESTIMATED_AFTER:
        return SEEDS
    needed = seeds_for_equivalence(float(points.std(ddof=1)))
    return max(SEEDS, POSSIBLE_SEEDS[-1] if needed is None else needed)


def verdict(nll: Compared, accuracy: Compared) -> str:
    """Return the answer that the protocol defines, for all planned seeds.

    Args:
        nll: The main comparison, p after correction.
        accuracy: The same in points.
    """
    equal = abs(accuracy.mean) + accuracy.narrow < BOUND
    bounded = f"no effect above {BOUND} points of accuracy"
    if nll.p < LEVEL:
        effect = f"comparing {'lowers' if nll.mean < 0 else 'raises'} the NLL"
        return f"{effect}; {bounded}" if equal else effect
    return bounded if equal else "undecided"


def answer(results: Path, arms: Sequence[Arm] = ARMS) -> str:
    """Return the tables and answers of all regimes in Markdown.

    Args:
        results: Folder of the runs.
        arms: The planned arms: those whose form passed the gate, "base" and "sham".
    """
    runs = read(results)
    parts = [_regime(runs, 100, planned_seeds(runs), arms)]
    parts += [_regime(runs, percent, SCARCE_SEEDS, arms) for percent in SCARCE]
    return "\n\n".join(parts)


def _regime(runs: Runs, percent: int, seeds: int, arms: Sequence[Arm]) -> str:
    """Return the table of one regime and its answer, or what is missing for it."""
    title = f"{percent}% of the training images, {seeds} seeds planned"
    missing = sum((arm, percent, seed) not in runs for arm in arms for seed in range(seeds))
    pairs = [pair for pair in (MAIN, *SECONDARY) if set(pair) <= set(arms)]
    found = {(pair, what): compared(runs, *pair, what, percent, seeds) for pair in pairs for what in MEASURES}
    rows = []
    for pair in pairs:
        cells = [_cell(found[pair, what], what) for what in MEASURES]
        rows.append((f"{pair[0]} − {pair[1]}", str(found[pair, "nll"].seeds), *cells))
    header = ("difference", "pairs", "NLL", "accuracy, points", "balanced accuracy, points")
    text = f"**{title}**\n\n{table(header, rows)}\n\n"
    if missing:
        return f"{text}{missing} of {len(arms) * seeds} runs are missing: the intervals above are no result yet."
    if MAIN not in pairs:
        return f"{text}There is no answer: the form {MAIN[0]} did not pass the gate."
    nll = found[MAIN, "nll"]
    if percent != 100:
        regimes = [compared(runs, *MAIN, "nll", each, seeds).p for each in SCARCE]
        nll = nll._replace(p=holm(regimes)[SCARCE.index(percent)])
    return f"{text}Answer: {verdict(nll, found[MAIN, 'accuracy'])}. {_secondary(found)}"


def holm(p: Sequence[float]) -> list[float]:
    """Return p values after Holm's correction for their number; NaN counts as 1.

    Example:
        >>> holm([0.02, 0.5, 0.024])
        [0.06, 0.5, 0.06]
    """
    known = np.nan_to_num(np.asarray(p, np.float64), nan=1.0)
    order = np.argsort(known, kind="stable")
    adjusted = np.empty(len(known))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(known[order] * np.arange(len(known), 0, -1)))
    return [float(value) for value in adjusted]


def _secondary(found: dict[tuple[tuple[Arm, Arm], Measure], Compared]) -> str:
    """Return the secondary comparisons that are significant after Holm's correction."""
    secondary = [key for key in found if key != (MAIN, "nll")]
    corrected = holm([found[key].p for key in secondary])
    clear = [
        f"{' − '.join(pair)} in {measure.replace('_', ' ')}"
        for (pair, measure), p in zip(secondary, corrected, strict=True)
        if p < LEVEL
    ]
    return f"Secondary, after Holm's correction: {', '.join(clear) if clear else 'none'}."


def _cell(found: Compared, measure: Measure) -> str:
    if found.seeds == 0:
        return "–"
    digits = 4 if measure == "nll" else 2
    mean = f"{found.mean:+.{digits}f}"
    return mean if found.seeds == 1 else f"{mean} ± {found.margin:.{digits}f} (p {found.p:.2g})"


def _differences(
    runs: Runs, first: Arm, second: Arm, measure: Measure, percent: int, seeds: int
) -> npt.NDArray[np.float64]:
    """Return the differences over the seeds that both arms have, accuracies in points."""
    pairs = [
        (runs[first, percent, seed][measure], runs[second, percent, seed][measure])
        for seed in range(seeds)
        if (first, percent, seed) in runs and (second, percent, seed) in runs
    ]
    scale = 1 if measure == "nll" else 100
    return np.array([scale * (a - b) for a, b in pairs], np.float64)
