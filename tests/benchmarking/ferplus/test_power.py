"""Power against simulated tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.ferplus.power import (
    main,
    power_of_difference,
    power_of_equivalence,
    seeds_for_equivalence,
)

RNG = np.random.default_rng(1)


def test_power_of_a_difference_is_that_of_simulated_t_tests() -> None:
    p = stats.ttest_1samp(RNG.normal(0.8, 1, (20_000, 9)), 0, axis=1).pvalue
    assert power_of_difference(9, 0.8) == pytest.approx((p < 0.05).mean(), abs=0.015)


def test_power_of_equivalence_is_that_of_simulated_intervals() -> None:
    drawn = RNG.normal(0.1, 0.3, (20_000, 9))
    margins = stats.t.ppf(0.95, 8) * drawn.std(1, ddof=1) / 3
    within = np.abs(drawn.mean(1)) + margins < 0.3
    assert power_of_equivalence(9, 0.3, true=0.1) == pytest.approx(within.mean(), abs=0.015)


def test_the_least_number_of_seeds_has_the_power_and_one_less_has_not() -> None:
    seeds = seeds_for_equivalence(0.3)
    assert seeds is not None
    assert power_of_equivalence(seeds, 0.3) >= 0.8 > power_of_equivalence(seeds - 1, 0.3)
    assert seeds_for_equivalence(1.0) is None


def test_the_numbers_of_the_protocol_are_those_of_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    printed = capsys.readouterr().out
    assert "accuracy 0.45 points, NLL 0.0053" in printed
    assert "0.45: 21" in printed
