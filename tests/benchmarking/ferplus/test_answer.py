"""The answer that the protocol defines, from runs that are made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks.ferplus.answer import answer, compared, holm, of_differences, planned_seeds, read, verdict
from benchmarks.ferplus.arms import ARMS, SCARCE, Arm

RNG = np.random.default_rng(0)


def write(
    folder: Path, arm: Arm, seeds: range, percent: int = 100, nll: float = 0.6, points: float = 80.0, noise: float = 0.1
) -> None:
    folder.mkdir(exist_ok=True)
    for seed in seeds:
        drawn = RNG.normal(0, noise)
        both = {"nll": nll + drawn / 100, "accuracy": (points + drawn) / 100, "balanced_accuracy": 0.6 + drawn / 100}
        record: dict[str, Any] = {"arm": arm, "percent": percent, "seed": seed, "measures": {"both": both}}
        (folder / f"{arm}-{percent}-{seed}.json").write_text(json.dumps(record))


def regime(text: str, percent: int = 100) -> str:
    return text.split(f"**{percent}% of")[1].split("\n\n**")[0]


def test_missing_runs_are_counted_and_nothing_is_answered(tmp_path: Path) -> None:
    for arm in ARMS:
        write(tmp_path, arm, range(3))
    found = regime(answer(tmp_path))
    assert "12 seeds planned" in found and "36 of 48 runs are missing" in found and "Answer" not in found
    assert regime(answer(tmp_path), 5).count("| 0 |") == 4
    assert "20 of 20 runs are missing" in regime(answer(tmp_path), 5)


@pytest.mark.parametrize(
    ("nll", "points", "noise", "expected"),
    [
        (0.58, 80.0, 0.1, "comparing lowers the NLL; no effect above 0.3 points of accuracy."),
        (0.62, 79.0, 0.1, "comparing raises the NLL."),
        (0.60, 80.0, 0.05, "no effect above 0.3 points of accuracy."),
    ],
)
def test_the_answer_is_that_of_the_protocol(
    tmp_path: Path, nll: float, points: float, noise: float, expected: str
) -> None:
    for arm in ARMS:
        write(tmp_path, arm, range(12), noise=noise)
    write(tmp_path, "exemplars", range(12), nll=nll, points=points, noise=noise)
    assert f"Answer: {expected}" in regime(answer(tmp_path))


def test_the_test_is_the_paired_t_test_over_seeds(tmp_path: Path) -> None:
    write(tmp_path, "exemplars", range(8), nll=0.61)
    write(tmp_path, "sham", range(2, 12))
    runs = read(tmp_path)
    pairs = [(runs["exemplars", 100, seed]["nll"], runs["sham", 100, seed]["nll"]) for seed in range(2, 8)]
    expected = stats.ttest_rel(*np.transpose(pairs))
    found = compared(runs, "exemplars", "sham", "nll")
    assert found.seeds == 6 and found.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert (found.mean - found.margin, found.mean + found.margin) == pytest.approx((low, high))


def test_undecided_is_neither_an_effect_nor_equal() -> None:
    nothing, wide = of_differences(np.array([0.01, -0.01, 0.0])), of_differences(np.array([1.0, -1.0, 0.3]))
    assert verdict(nothing, wide) == "undecided"


def test_more_seeds_are_planned_for_a_large_deviation_whatever_the_mean(tmp_path: Path) -> None:
    for name, noise, expected in (("small", 0.05, 12), ("large", 2.0, 24)):
        for arm in ARMS[1:3]:
            write(tmp_path / name, arm, range(6), noise=noise)
        assert planned_seeds(read(tmp_path / name)) == expected
    write(tmp_path / "few", "sham", range(5), noise=2.0)
    write(tmp_path / "few", "exemplars", range(5), noise=2.0)
    assert planned_seeds(read(tmp_path / "few")) == 12


def test_holm_corrects_step_by_step() -> None:
    assert holm([0.01, 0.04, float("nan"), 0.03]) == pytest.approx([0.04, 0.09, 1, 0.09])


def test_regimes_of_scarce_labels_are_corrected_together(tmp_path: Path) -> None:
    for percent in SCARCE:
        for arm in ARMS:
            write(tmp_path, arm, range(5), percent)
    write(tmp_path, "exemplars", range(5), 1, nll=0.5)
    text = answer(tmp_path)
    assert "Answer: comparing lowers the NLL" in regime(text, 1)
    assert "comparing" not in regime(text, 5)


def test_without_a_form_that_passed_there_is_no_answer(tmp_path: Path) -> None:
    for arm in ARMS[:2]:
        write(tmp_path, arm, range(12))
    found = regime(answer(tmp_path, ("base", "sham")))
    assert "the form exemplars did not pass the gate" in found and "sham − base" in found
