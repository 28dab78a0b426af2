"""The filter of probabilities has the delay that it states."""

from __future__ import annotations

import numpy as np
import pytest

from qcs.errors import InputError
from qcs.live import ProbabilityFilter

HAPPY, SAD = np.array([1.0, 0.0]), np.array([0.0, 1.0])


@pytest.mark.parametrize("rate", [5, 25, 100])
@pytest.mark.parametrize("delay", [0.2, 0.6])
def test_after_the_delay_half_of_the_average_is_newer(rate: int, delay: float) -> None:
    filtered = ProbabilityFilter(delay)
    for frame in range(10 * rate):
        filtered(1, HAPPY, frame / rate)
    since = (10 * rate - 1) / rate
    for frame in range(round(delay * rate)):
        row = filtered(1, SAD, since + (frame + 1) / rate)
    np.testing.assert_allclose(row, [0.5, 0.5], atol=1e-9)


def test_one_wrong_frame_changes_no_label() -> None:
    filtered = ProbabilityFilter(0.3)
    rows = [filtered(1, SAD if frame % 7 == 3 else HAPPY, frame / 25) for frame in range(50)]
    assert all(row.argmax() == 0 for row in rows)
    assert all(row.sum() == pytest.approx(1) for row in rows)


def test_tracks_have_states_of_their_own_which_can_be_forgotten_and_set() -> None:
    filtered = ProbabilityFilter(1.0)
    filtered(1, HAPPY, 0.0)
    assert filtered(2, SAD, 0.5).tolist() == [0, 1]
    filtered.forget({2})
    assert filtered(1, SAD, 1.0).tolist() == [0, 1]
    filtered.start(3, HAPPY, 0.0)
    assert filtered(3, SAD, 1.0).tolist() == [0.5, 0.5]


def test_without_a_delay_nothing_is_filtered() -> None:
    filtered = ProbabilityFilter(0)
    filtered(1, HAPPY, 0.0)
    assert filtered(1, SAD, 0.0).tolist() == [0, 1]
    with pytest.raises(InputError, match="delay is -1; expected seconds, 0 for no filter"):
        ProbabilityFilter(-1)
