"""Reliability diagrams."""

from __future__ import annotations

import numpy as np
import pytest

from qcs.errors import InputError
from qcs.visualize import reliability_diagram


def test_bars_stand_over_their_bins_with_the_images_below() -> None:
    figure = reliability_diagram([np.nan, 0.25, 0.9, 1.0], [0, 4, 20, 6])
    upper, lower = figure.axes
    assert [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in upper.patches] == [
        (37.5, 25),
        (62.5, 90),
        (87.5, 100),
    ]
    assert [bar.get_height() for bar in lower.patches] == [0, 4, 20, 6]
    assert upper.lines[0].get_xydata().tolist() == [[0, 0], [100, 100]]


@pytest.mark.parametrize(("accuracy", "counts"), [([0.5], [1, 2]), ([0.5, 0.5], [0, 0]), ([[0.5]], [[1]])])
def test_bins_that_do_not_fit_are_refused(accuracy: list[float], counts: list[int]) -> None:
    with pytest.raises(InputError, match="give one of both per bin, and at least one image"):
        reliability_diagram(accuracy, counts)
