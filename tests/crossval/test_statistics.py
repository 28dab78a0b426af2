"""The tests between networks: against scipy, against the formula, and their rate of false findings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from qcs.crossval import corrected_t_test, holm
from qcs.crossval.statistics import spread

FIRST, SECOND = [0.81, 0.84, 0.79, 0.86, 0.83], [0.78, 0.82, 0.8, 0.81, 0.8]


def test_without_overlap_it_is_the_paired_t_test() -> None:
    found, expected = corrected_t_test(FIRST, SECOND), stats.ttest_rel(FIRST, SECOND)
    low, high = expected.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx((expected.pvalue, low, high), rel=1e-12)


def test_the_overlap_widens_the_interval_by_its_factor() -> None:
    plain, corrected = corrected_t_test(FIRST, SECOND), corrected_t_test(FIRST, SECOND, 1 / 3)
    factor = math.sqrt((1 / 5 + 1 / 3) / (1 / 5))
    assert corrected.high - corrected.difference == pytest.approx(factor * (plain.high - plain.difference))
    assert corrected.p > plain.p


def test_swapping_the_networks_changes_the_sign_alone() -> None:
    one, other = corrected_t_test(FIRST, SECOND, 0.3), corrected_t_test(SECOND, FIRST, 0.3)
    assert (one.difference, one.low, one.p) == pytest.approx((-other.difference, -other.high, other.p))


@pytest.mark.parametrize(("first", "second"), [([0.5], [0.4]), ([0.5, 0.6], [0.4, 0.5]), ([], [])])
def test_one_repeat_and_equal_differences_have_no_test(first: list[float], second: list[float]) -> None:
    found = corrected_t_test(first, second)
    assert math.isnan(found.p) and math.isnan(found.low) and found.repeats == len(first)


def test_it_finds_what_is_not_there_less_often_than_the_usual_test() -> None:
    """Two equal classifiers; repeats draw 30 of 100 images to test on, as overlapping splits do."""
    generator = np.random.default_rng(0)
    found = {0.0: 0, 30 / 70: 0}
    for _ in range(300):
        right = generator.random((2, 100)) < 0.7
        drawn = [generator.permutation(100)[:30] for _ in range(10)]
        values = [[network[rows].mean() for rows in drawn] for network in right]
        for overlap in found:
            found[overlap] += corrected_t_test(*values, overlap).p < 0.05
    assert found[0.0] > 75  # of 300, where 15 are allowed
    assert found[30 / 70] < 30


def test_holm_is_that_of_the_definition() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_an_undefined_test_counts_and_stays_undefined() -> None:
    first, second = holm([0.02, math.nan])
    assert first == pytest.approx(0.04) and math.isnan(second)


def test_the_spread_of_one_repeat_is_undefined() -> None:
    assert spread([0.5])[0] == 0.5 and math.isnan(spread([0.5])[1]) and math.isnan(spread([])[0])
