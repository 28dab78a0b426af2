"""Filter the probabilities of each track in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qcs.errors import InputError

Floats = npt.NDArray[np.floating[Any]]


class ProbabilityFilter:
    """Average the probabilities of each track, newer ones with more weight (exponential smoothing).

    After `delay` seconds, half of the average is from newer frames. So a lasting change of expression becomes the
    label of the filter about `delay` seconds after it became that of the frames. The frames may come at any times.

    Args:
        delay: Half-life of the weights in seconds; 0 filters nothing.

    Raises:
        InputError: If the delay is negative or not finite.

    Example:
        >>> filtered = ProbabilityFilter(delay=0.5)
        >>> filtered(1, np.array([1.0, 0.0]), seconds=0.0).tolist()
        [1.0, 0.0]
        >>> filtered(1, np.array([0.0, 1.0]), seconds=0.5).tolist()
        [0.5, 0.5]
    """

    def __init__(self, delay: float) -> None:
        if not 0 <= delay < float("inf"):
            raise InputError(f"delay is {delay}; expected seconds, 0 for no filter")
        self.delay = delay
        self._state: dict[int, tuple[Floats, float]] = {}

    def __call__(self, track: int, probabilities: Floats, seconds: float) -> Floats:
        """Return the filtered probabilities (K,) of a track.

        Args:
            track: Number of the track.
            probabilities: Those of the new frame (K,).
            seconds: Time of the new frame.
        """
        before, since = self._state.get(track, (probabilities, seconds))
        kept = 0.5 ** (max(0.0, seconds - since) / self.delay) if self.delay else 0.0
        filtered = kept * before + (1 - kept) * probabilities if track in self._state else probabilities
        self._state[track] = filtered, seconds
        return filtered

    def start(self, track: int, filtered: Floats, seconds: float) -> None:
        """Set the state of a track, to go on from results that were recorded."""
        self._state[track] = filtered, seconds

    def forget(self, kept: set[int]) -> None:
        """Drop the state of all tracks but these."""
        self._state = {track: state for track, state in self._state.items() if track in kept}
