"""From the ten crowd votes of a FERPlus image to one label, or to a target spread over several classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qcs.errors import InputError

COLUMNS = 10
"""Vote columns: the eight classes of `CLASSES["ferplus"]` in that order, then "unknown" and "not a face"."""

_CLASSES = 8
_SMOOTHING = 0.001  # of the multi-target rule, so that no class has the target 0

Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Decision(NamedTuple):
    """What a rule makes of each image.

    Attributes:
        labels: Class indices in the order of `CLASSES["ferplus"]`, shape (n,); -1 for an image to drop.
        soft: Target of each class in [0, 1], float32, shape (n, 8), zero for an image to drop; None where the label
            says it all.
    """

    labels: Counts
    soft: npt.NDArray[np.float32] | None


def decide(votes: npt.ArrayLike, rule: str = "majority") -> Decision:
    """Turns votes into labels by one of the rules in use.

    The first three are the official ones (Barsoum et al., "Training deep networks for facial expression recognition
    with crowd-sourced label distribution", ICMI 2016). They first forget lone votes, in every column.

    * `"majority"`: the column with more than half of the votes.
    * `"probability"`: the columns with the most votes until they hold three quarters of them or are three, columns of
      equally many votes together; the soft target is their share. Dropped: images where they hold half or less, where
      ties make them more than three, or where the first is "unknown" or "not a face", which also end the list.
    * `"multi_target"`: the columns with at least 30 % of the votes, dropped where they hold half or less together. The
      soft target is 1 for each of them; smoothed by 0.001, its rows do not sum to one.
    * `"argmax"`: the first column with the most of all ten votes.
    * `"select_first"`, `"select_last"`: the most votes among the eight classes alone, however few; of equal ones the
      first or the last.

    An image is dropped where the column chosen is "unknown" or "not a face".

    Args:
        votes: Non-negative vote counts, shape (n, 10), columns as in `COLUMNS`.
        rule: One of `RULES`.

    Returns:
        A label for each image, and soft targets where the rule has them; the label is the class with the most votes.

    Raises:
        InputError: `votes` is not (n, 10) non-negative whole numbers, or the rule is unknown.

    Example:
        >>> decide([[5, 3, 2, 0, 0, 0, 0, 0, 0, 0]], "probability").soft.round(3).tolist()[0][:4]
        [0.625, 0.375, 0.0, 0.0]
    """
    if rule not in RULES:
        raise InputError(f"unknown vote rule {rule!r}; expected one of {', '.join(RULES)}")
    decided: Decision = RULES[rule](_checked(votes))
    return decided


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
    return decide(votes, "majority").labels


def _checked(votes: npt.ArrayLike) -> Counts:
    counts = np.asarray(votes)
    if counts.ndim != 2 or counts.shape[1] != COLUMNS or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise InputError(
            f"votes are {counts.dtype} of shape {counts.shape}; expected non-negative whole numbers of shape "
            f"(n, {COLUMNS}): eight classes, unknown, not a face"
        )
    return counts.astype(np.int64)


def _majority(votes: Counts) -> Decision:
    votes = _without_lone(votes)
    return _one_label(votes, 2 * votes.max(axis=1) > votes.sum(axis=1))


def _probability(votes: Counts) -> Decision:
    votes = _without_lone(votes)
    total = votes.sum(axis=1)
    left, kept = votes.copy(), np.zeros_like(votes)
    taken = np.zeros(len(votes), dtype=np.int64)  # columns
    unfinished = total > 0
    while unfinished.any():
        peak = (left == left.max(axis=1, keepdims=True)) & unfinished[:, None]
        no_class = peak[:, _CLASSES:].any(axis=1)
        # Unknown or not a face, once reached, ends the list; it is part of it only where nothing else is.
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
    votes = _without_lone(votes)
    total = votes.sum(axis=1, keepdims=True)
    kept = np.where(10 * votes >= 3 * total, votes, 0)
    decision = _one_label(kept, 2 * kept.sum(axis=1) > total[:, 0])
    return _with_soft(decision, (1 - _SMOOTHING) * (kept[:, :_CLASSES] > 0) + _SMOOTHING)


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
    "argmax": _argmax,
    "select_first": _select_first,
    "select_last": _select_last,
}
"""The rules that `decide` knows, by name."""

DEFAULT = "majority"


def _without_lone(votes: Counts) -> Counts:
    return np.where(votes > 1, votes, 0)


def _one_label(kept: Counts, accepted: Flags) -> Decision:
    """The first column with the most votes, where the image is accepted and that column is a class."""
    winner = kept.argmax(axis=1)
    return Decision(np.where(accepted & (winner < _CLASSES), winner, -1), None)


def _with_soft(decision: Decision, soft: npt.NDArray[Any]) -> Decision:
    return Decision(decision.labels, np.where(decision.labels[:, None] >= 0, soft, 0).astype(np.float32))
