"""Intervals and tests, against values by hand and against SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from made_up import predictions
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from qcs.report.statistics import (
    accuracy,
    accuracy_of,
    adjusted,
    balanced_accuracy,
    bootstrap,
    difference,
    mcnemar,
    proportion,
    welch,
)

RIGHT = [0, 1, 2, 0, 1, 2]
SOME = [0, 1, 1, 0, 0, 2]  # the third and the fifth are wrong


@pytest.mark.parametrize(("right", "total"), [(0, 7), (5, 7), (7, 7), (900, 1000)])
def test_a_proportion_has_wilson_s_interval(right: int, total: int) -> None:
    found, known = proportion(right, total), stats.binomtest(right, total).proportion_ci(0.95, "wilson")
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=1e-6)
    assert found.value == right / total


def test_statistics_of_all_images_are_those_counted_by_hand() -> None:
    shown, once = predictions(SOME), np.ones((1, 6), np.float32)
    assert accuracy(shown)(once) == pytest.approx([4 / 6])
    assert balanced_accuracy(shown)(once) == pytest.approx([balanced_accuracy_score(shown.labels, SOME)])
    first_three = np.arange(6) < 3
    assert accuracy(shown, first_three)(once) == pytest.approx([2 / 3])
    assert balanced_accuracy(shown, first_three, [0, 2])(once) == pytest.approx([1 / 2])


def test_an_image_drawn_twice_counts_twice_and_an_absent_class_not_at_all() -> None:
    weights = np.array([[2, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]], np.float32)
    assert accuracy(predictions(SOME))(weights)[0] == pytest.approx(2 / 3)
    assert balanced_accuracy(predictions(SOME))(weights)[0] == pytest.approx((1 + 0) / 2)
    assert np.isnan(accuracy(predictions(SOME))(weights)[1])


def test_the_bootstrap_agrees_with_theory_and_with_scipy() -> None:
    predicted = (np.arange(600) % 3 + (np.arange(600) % 10 < 3)) % 3  # three in ten are wrong
    shown = predictions(predicted.tolist())
    found = bootstrap(accuracy(shown), 600)
    half = 1.96 * np.sqrt(0.7 * 0.3 / 600)
    assert (found.value, found.low, found.high) == pytest.approx((0.7, 0.7 - half, 0.7 + half), abs=0.005)
    known = stats.bootstrap(
        (shown.correct.astype(float),),
        np.mean,
        method="percentile",
        n_resamples=2000,
        random_state=np.random.default_rng(0),
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.005)


def test_where_people_are_known_they_are_drawn_whole() -> None:
    once = predictions((np.arange(60) % 3 * (np.arange(60) % 7 > 0)).tolist())
    often = predictions(np.tile(once.predicted, 10).tolist(), subjects=[str(row % 60) for row in range(600)])
    alone, people = bootstrap(accuracy(once), 60), accuracy_of(often)
    assert (people.low, people.high) == pytest.approx((alone.low, alone.high), abs=0.02)
    images = bootstrap(accuracy(often), 600)
    assert people.high - people.low > 2 * (images.high - images.low)


def test_differences_are_paired_over_the_same_draws() -> None:
    shown = predictions(SOME * 20)
    same = bootstrap(difference(accuracy(shown), accuracy(predictions(SOME * 20))), 120)
    assert (same.value, same.low, same.high) == (0, 0, 0)


@pytest.mark.parametrize(("only_first", "only_second"), [(6, 1), (0, 0), (3, 3), (40, 15)])
def test_mcnemar_s_test_is_the_exact_one(only_first: int, only_second: int) -> None:
    first = np.array([True] * only_first + [False] * only_second + [True, False])
    second = np.array([False] * only_first + [True] * only_second + [True, False])
    found, differing = mcnemar(first, second), only_first + only_second
    known = min(1.0, 2 * stats.binom.cdf(min(only_first, only_second), differing, 0.5)) if differing else 1.0
    assert (found.only_first, found.only_second, found.p) == (only_first, only_second, pytest.approx(known))


def test_seven_differing_images_six_to_one_by_hand() -> None:
    assert mcnemar(np.array([True] * 6 + [False]), np.array([False] * 6 + [True])).p == 2 * (1 + 7) / 2**7


def test_welch_s_test_by_hand() -> None:
    first, second = [0.70, 0.72, 0.74], [0.60, 0.66]
    found = welch(first, second)
    parts = np.var(first, ddof=1) / 3, np.var(second, ddof=1) / 2
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 1)
    t = (0.72 - 0.63) / np.sqrt(sum(parts))
    half = stats.t.ppf(0.975, freedom) * np.sqrt(sum(parts))
    assert found is not None
    assert found.p == pytest.approx(2 * stats.t.sf(t, freedom))
    assert (found.difference.low, found.difference.high) == pytest.approx((0.09 - half, 0.09 + half))


@pytest.mark.parametrize("first", [[0.7], [], [0.7, 0.7]])
def test_there_is_no_test_over_seeds_without_spread(first: list[float]) -> None:
    assert welch(first, [0.6, 0.6]) is None


def test_probabilities_of_several_tests_are_adjusted_by_hand() -> None:
    assert adjusted([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert adjusted([]) == []
