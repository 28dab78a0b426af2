"""Measure time and memory of the quadruplet operator: `pytest benchmarks --benchmark-json=benchmarks.json`.

pytest-benchmark times ours; the figures of every contender are in its `extra_info`.
"""

from __future__ import annotations

import statistics
from typing import Any

import pytest
import torch

from benchmarks.contenders import CONTENDERS, Case, Run, run_of
from benchmarks.measure import Rounds, clock_for, roofline
from benchmarks.memory import peak_extra


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "forward+backward"])
def test_cross_similarity(benchmark: Any, pytestconfig: pytest.Config, shape: str, backward: bool) -> None:
    batch, tokens, channels = map(int, shape.split("x"))
    case = Case(batch, tokens, channels, backward, "cuda" if torch.cuda.is_available() else "cpu")
    torch.compiler.reset()  # compilations of one shape must not count toward the limit of the next
    found = {name: run_of(name, case) for name in CONTENDERS}
    runs: dict[str, Run] = {name: run for name, run in found.items() if not isinstance(run, str)}
    not_run = {name: reason for name, reason in found.items() if isinstance(reason, str)}

    rounds = Rounds(runs, "triton" if "triton" in runs else "analytic", clock_for(case.device))
    count = rounds.fitting(pytestconfig.getoption("--seconds"))
    benchmark.pedantic(rounds.time_ours, setup=rounds.time_the_others, rounds=count, iterations=1)

    medians = {name: statistics.median(seconds) for name, seconds in rounds.seconds.items()}
    benchmark.extra_info.update(
        case=case._asdict(),
        rounds=count,
        roofline=roofline(case),
        not_run=not_run | rounds.too_slow,
        contenders={
            name: {
                "median": medians[name],
                "quartiles": quartiles(seconds),
                "per_products": ratio(name, "products", medians),
                "per_reference": ratio(name, "reference", medians),
                "peak_bytes": peak_extra(name, case, runs[name]),
            }
            for name, seconds in rounds.seconds.items()
        },
    )


def quartiles(seconds: list[float]) -> tuple[float, float]:
    """Return the first and third quartile; the sample itself if there is only one."""
    if len(seconds) == 1:
        return seconds[0], seconds[0]
    first, _, third = statistics.quantiles(seconds, method="inclusive")
    return first, third


def ratio(name: str, to: str, medians: dict[str, float]) -> float | None:
    """Return the ratio of two medians, None if the other was not run."""
    return medians[name] / medians[to] if to in medians else None
