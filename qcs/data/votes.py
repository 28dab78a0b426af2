"""Convert the ten crowd votes of a FERPlus image to a label, or to soft targets."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qcs.errors import InputError, check_choice

COLUMNS = 10
"""Vote columns: the eight classes of `CLASSES["ferplus"]` in that order, then "unknown" and "not a face"."""

_CLASSES = 8
_SMOOTHING = 0.001  # of the rule `multi_target`, so that no target is 0

Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Decision(NamedTuple):
    """The labels that a vote rule assigns.

    Attributes:
        labels: Class indices in the order of `CLASSES["ferplus"]`, shape (n,); -1 for an image to drop.
        soft: Soft targets in [0, 1], float32, shape (n, 8), zero for an image to drop; None if the rule has none.
    """

    labels: Counts
    soft: npt.NDArray[np.float32] | None


def decide(votes: npt.ArrayLike, rule: str = "majority") -> Decision:
    """Convert votes to labels by one of the rules in use.

    The first three are the official rules (Barsoum et al., "Training deep networks for facial expression recognition
    with crowd-sourced label distribution", ICMI 2016). They first ignore single votes, in every column.

    * `"majority"`: the column with more than half of the votes.
    * `"probability"`: the columns with the most votes, until they hold three quarters of the votes or are three; tied
      columns are added together. The soft targets are proportional to their votes. An image is dropped if they hold
      half of the votes or less, if ties make them more than three, or if the first is "unknown" or "not a face",
      which also end the list.
    * `"multi_target"`: the columns with at least 30% of the votes; an image is dropped if they hold half of the votes
      or less. The soft target of each is 1, smoothed by 0.001; rows do not sum to one.
    * `"shares"`: the label of `"majority"`; the soft targets are the shares of the votes for the eight classes, single
      votes too: how the annotators of that image voted.
    * `"argmax"`: the first column with the most votes of all ten.
    * `"select_first"`, `"select_last"`: the most votes among the eight classes only; of tied classes the first or the
      last.

    An image is dropped if the selected column is "unknown" or "not a face".

    Args:
        votes: Non-negative vote counts, shape (n, 10), columns as in `COLUMNS`.
        rule: One of `RULES`.

    Returns:
        A label for each image, the class with the most votes, and soft targets if the rule has them.

    Raises:
        InputError: `votes` are not non-negative integers of shape (n, 10), or the rule is unknown.

    Example:
        >>> decide([[5, 3, 2, 0, 0, 0, 0, 0, 0, 0]], "probability").soft.round(3).tolist()[0][:4]
        [0.625, 0.375, 0.0, 0.0]
    """
    check_choice("votes", rule, RULES)
    decided: Decision = RULES[rule](_checked(votes))
    return decided


def majority(votes: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the class with more than half of the votes.

    The official FERPlus majority rule (Barsoum et al., "Training deep networks for facial expression recognition with
    crowd-sourced label distribution", ICMI 2016): single votes are ignored, in every column; one of the eight
    classes must hold more than half of the remaining votes.

    Args:
        votes: Non-negative vote counts, shape (n, 10), columns as in `COLUMNS`.

    Returns:
        Class indices in the order of `CLASSES["ferplus"]`, shape (n,); -1 for an image to drop.

    Raises:
        InputError: `votes` are not non-negative integers of shape (n, 10).

    Example:
        >>> majority([[6, 0, 1, 2, 0, 0, 0, 0, 1, 0], [5, 5, 0, 0, 0, 0, 0, 0, 0, 0]]).tolist()
        [0, -1]
    """
    return decide(votes, "majority").labels


def _checked(votes: npt.ArrayLike) -> Counts:
    counts = np.asarray(votes)
    if counts.ndim != 2 or counts.shape[1] != COLUMNS or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise InputError(
            f"votes are {counts.dtype} of shape {counts.shape}; expected non-negative integers of shape "
            f"(n, {COLUMNS}): eight classes, unknown, not a face"
        )
    return counts.astype(np.int64)


def _majority(votes: Counts) -> Decision:
    votes = _without_single_votes(votes)
    return _one_label(votes, 2 * votes.max(axis=1) > votes.sum(axis=1))


def _probability(votes: Counts) -> Decision:
    votes = _without_single_votes(votes)
    total = votes.sum(axis=1)
    left, kept = votes.copy(), np.zeros_like(votes)
    taken = np.zeros(len(votes), dtype=np.int64)  # columns
    unfinished = total > 0
    while unfinished.any():
        peak = (left == left.max(axis=1, keepdims=True)) & unfinished[:, None]
        no_class = peak[:, _CLASSES:].any(axis=1)
        # Unknown or not a face ends the list, and is part of it only if the list is empty.
        peak[:, _CLASSES:] &= (no_class & ~(kept.any(axis=1) | peak[:, :_CLASSES].any(axis=1)))[:, None]
        kept += np.where(peak, votes, 0)
        left[peak] = 0
        taken += peak.sum(axis=1)
        unfinished &= ~no_class & (4 * kept.sum(axis=1) < 3 * total) & (taken < 3)
    accepted = (2 * kept.sum(axis=1) > total) & (taken <= 3)
    decision = _one_label(kept, accepted)
    shares = kept[:, :_CLASSES] / np.maximum(kept[:, :_CLASSES].sum(axis=1, keepdims=True), 1)
    return _with_soft(decision, shares)


def _multi_target(votes: Counts) -> Decision:
    votes = _without_single_votes(votes)
    total = votes.sum(axis=1, keepdims=True)
    kept = np.where(10 * votes >= 3 * total, votes, 0)
    decision = _one_label(kept, 2 * kept.sum(axis=1) > total[:, 0])
    return _with_soft(decision, (1 - _SMOOTHING) * (kept[:, :_CLASSES] > 0) + _SMOOTHING)


def _shares(votes: Counts) -> Decision:
    classes = votes[:, :_CLASSES]
    return _with_soft(_majority(votes), classes / np.maximum(classes.sum(axis=1, keepdims=True), 1))


def _argmax(votes: Counts) -> Decision:
    return _one_label(votes, np.ones(len(votes), dtype=bool))


def _select_first(votes: Counts) -> Decision:
    classes = votes[:, :_CLASSES]
    return _one_label(classes, classes.sum(axis=1) > 0)


def _select_last(votes: Counts) -> Decision:
    labels = _select_first(votes[:, _CLASSES - 1 :: -1]).labels
    return Decision(np.where(labels < 0, -1, _CLASSES - 1 - labels), None)


RULES: dict[str, Any] = {
    "majority": _majority,
    "probability": _probability,
    "multi_target": _multi_target,
    "shares": _shares,
    "argmax": _argmax,
    "select_first": _select_first,
    "select_last": _select_last,
}
"""The vote rules of `decide`, by name."""

DEFAULT = "majority"


def _without_single_votes(votes: Counts) -> Counts:
    return np.where(votes > 1, votes, 0)


def _one_label(kept: Counts, accepted: Flags) -> Decision:
    """Return the first column with the most votes; -1 if the image is not accepted or the column is not a class."""
    winner = kept.argmax(axis=1)
    return Decision(np.where(accepted & (winner < _CLASSES), winner, -1), None)


def _with_soft(decision: Decision, soft: npt.NDArray[Any]) -> Decision:
    return Decision(decision.labels, np.where(decision.labels[:, None] >= 0, soft, 0).astype(np.float32))
