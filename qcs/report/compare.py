"""Compare runs: group those with the same settings, list the differences, test whether they are significant."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qcs.engine.training.config import TrainConfig
from qcs.engine.training.settings import compared
from qcs.report.gather import Run
from qcs.report.statistics import (
    Estimate,
    McNemar,
    Welch,
    accuracy,
    adjusted,
    balanced_accuracy,
    bootstrap,
    difference,
    mcnemar,
    welch,
)

NAMED = 3  # settings in a name, where these suffice


@dataclass(frozen=True)
class Configuration:
    """Runs with the same settings, repeated with different seeds.

    Attributes:
        name: The network, with the settings in which it differs from other configurations of that network.
        runs: The runs.
        settings: The settings.
    """

    name: str
    runs: list[Run]
    settings: dict[str, Any]

    def measured(self, figure: Callable[[Run], float | None]) -> list[float]:
        """Return a figure of each run that has it."""
        return [value for value in map(figure, self.runs) if value is not None]


@dataclass(frozen=True)
class Pair:
    """Two runs tested on the same images.

    Attributes:
        first: A run.
        second: The run that is subtracted.
        accuracy: Difference of their accuracies, with its bootstrap confidence interval over the images.
        balanced: Difference of their balanced accuracies, likewise.
        test: McNemar's test of the accuracies.
        adjusted: Its p-value, adjusted for the number of pairs.
    """

    first: Run
    second: Run
    accuracy: Estimate
    balanced: Estimate
    test: McNemar
    adjusted: float


@dataclass(frozen=True)
class SeedTest:
    """Two configurations, each with several seeds: Welch's test of their mean test accuracies."""

    first: Configuration
    second: Configuration
    test: Welch


def configurations(runs: Sequence[Run]) -> list[Configuration]:
    """Group runs by configuration, in the order given."""
    shared: dict[str, list[Run]] = {}
    for run in runs:
        shared.setdefault(json.dumps(_settings(run), sort_keys=True), []).append(run)
    settings = [_settings(same[0]) for same in shared.values()]
    return [
        Configuration(_configuration_name(own, settings), same, own)
        for own, same in zip(settings, shared.values(), strict=True)
    ]


def differing(found: Sequence[Configuration]) -> dict[str, list[Any]]:
    """Return the settings that differ between configurations: name to the value in each."""
    names = list(dict.fromkeys(name for each in found for name in each.settings))
    values = {name: [each.settings.get(name) for each in found] for name in names}
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}


def pairs(found: Sequence[Configuration]) -> list[Pair]:
    """Compare every two runs of different configurations that were tested on the same images."""
    couples = [
        (one, other)
        for first, second in itertools.combinations(found, 2)
        for one, other in itertools.product(first.runs, second.runs)
        if _same_images(one, other)
    ]
    tests = [
        mcnemar(one.predictions.correct, other.predictions.correct)
        for one, other in couples
        if one.predictions is not None and other.predictions is not None  # runs on the same images have predictions
    ]
    return [
        Pair(one, other, *_differences(one, other), test, p)
        for (one, other), test, p in zip(couples, tests, adjusted([test.p for test in tests]), strict=True)
    ]


def seed_tests(found: Sequence[Configuration]) -> list[SeedTest]:
    """Test every two configurations that both have several seeds."""
    couples = [
        (first, second, welch(*(each.measured(test_accuracy) for each in (first, second))))
        for first, second in itertools.combinations(found, 2)
    ]
    return [SeedTest(first, second, test) for first, second, test in couples if test]


def test_accuracy(run: Run) -> float | None:
    """Return the accuracy on the test images, in [0, 1]; None without them."""
    return run.results["test"].accuracy if "test" in run.results else None


def _settings(run: Run) -> dict[str, Any]:
    return compared(TrainConfig, run.config)


def _configuration_name(own: dict[str, Any], all_settings: Sequence[dict[str, Any]]) -> str:
    """The network and as many of the settings in which it differs as make the name unique, `NAMED` at least."""
    model = str(own.get("model"))
    alike = [settings for settings in all_settings if settings.get("model") == own.get("model")]
    mine, *others = (
        _differences_of(settings, alike) for settings in (own, *(each for each in alike if each is not own))
    )
    most = next(
        (most for most in range(NAMED, len(mine)) if all(other[:most] != mine[:most] for other in others)), None
    )
    return ", ".join([model, *mine[:most]])


def _differences_of(own: dict[str, Any], alike: Sequence[dict[str, Any]]) -> list[str]:
    """The settings in which it differs from others of the same network."""
    differing = [name for name in own if any(settings.get(name) != own[name] for settings in alike)]
    return [f"{name} {own[name]}" for name in differing]


def _same_images(one: Run, other: Run) -> bool:
    first, second = one.predictions, other.predictions
    return (
        first is not None
        and second is not None
        and first.classes == second.classes
        and np.array_equal(first.names, second.names)
        and np.array_equal(first.labels, second.labels)
    )


def _differences(one: Run, other: Run) -> tuple[Estimate, Estimate]:
    first, second = one.predictions, other.predictions
    assert first is not None and second is not None
    draw = (len(first.labels), first.subjects)
    return (
        bootstrap(difference(accuracy(first), accuracy(second)), *draw),
        bootstrap(difference(balanced_accuracy(first), balanced_accuracy(second)), *draw),
    )
