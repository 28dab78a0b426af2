"""One label from the ten crowd votes of a FERPlus image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qcs.errors import InputError

COLUMNS = 10
"""Vote columns: the eight classes of `CLASSES["ferplus"]` in that order, then "unknown" and "not a face"."""

_CLASSES = 8


def majority(votes: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Returns the class that more than half of the votes agree on.

    The official FERPlus majority rule (Barsoum et al., "Training deep networks for facial expression recognition with
    crowd-sourced label distribution", ICMI 2016): a lone vote counts for nothing, in every column; of what remains one
    column must hold more than half, and it must be one of the eight classes.

    Args:
        votes: Non-negative vote counts, shape (n, 10), columns as in `COLUMNS`.

    Returns:
        Class indices in the order of `CLASSES["ferplus"]`, shape (n,); -1 for an image to drop.

    Raises:
        InputError: `votes` is not (n, 10) non-negative whole numbers.

    Example:
        >>> majority([[6, 0, 1, 2, 0, 0, 0, 0, 1, 0], [5, 5, 0, 0, 0, 0, 0, 0, 0, 0]]).tolist()
        [0, -1]
    """
    counts = np.asarray(votes)
    if counts.ndim != 2 or counts.shape[1] != COLUMNS or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise InputError(
            f"votes are {counts.dtype} of shape {counts.shape}; expected non-negative whole numbers of shape "
            f"(n, {COLUMNS}): eight classes, unknown, not a face"
        )
    counts = np.where(counts > 1, counts, 0).astype(np.int64)
    winner = counts.argmax(axis=1)
    agreed = 2 * counts.max(axis=1) > counts.sum(axis=1)
    return np.where(agreed & (winner < _CLASSES), winner, -1)
