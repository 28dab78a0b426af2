"""The risk-coverage curve."""

from __future__ import annotations

import pytest

from qcs.errors import InputError
from qcs.visualize import risk_coverage_curve


def test_the_curve_is_that_of_the_values_in_percent() -> None:
    (line,) = risk_coverage_curve([0.5, 1.0], [0.0, 0.25]).axes[0].lines
    assert line.get_xydata().tolist() == [[50, 0], [100, 25]]


@pytest.mark.parametrize(("coverage", "risk"), [([], []), ([1.0], [0.1, 0.2]), ([[1.0]], [[0.1]])])
def test_shapes_that_do_not_fit_are_refused(coverage: list[float], risk: list[float]) -> None:
    with pytest.raises(InputError, match="expected equally many values, at least one"):
        risk_coverage_curve(coverage, risk)
