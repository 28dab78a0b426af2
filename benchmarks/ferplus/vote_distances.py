"""Compare predicted distributions with the votes of annotators, beside what half of the annotators predict of the rest.

Each image has about ten votes for the eight expressions. They are split at random into two halves. Both the network and
the first half predict the second half, so that the noise of the target is the same for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from qcs.report.statistics import Weights, bootstrap

Array = npt.NDArray[np.float64]
SPLITS = 20
PRIOR = 1 / 8  # votes added to each class of the predicting half: without it, one unseen class makes KL infinite
NAMES = ("kl", "js", "tv")


def distances(predicted: npt.ArrayLike, target: npt.ArrayLike) -> dict[str, Array]:
    """Return how far predicted distributions (n, K) are from targets (n, K), each (n,).

    Returns:
        `kl`, the Kullback-Leibler divergence of the prediction from the target, in nats; `js`, the Jensen-Shannon
        divergence, in nats, at most log 2; `tv`, the total variation distance, in [0, 1].

    Example:
        >>> found = distances([[0.5, 0.5]], [[1.0, 0.0]])
        >>> [round(float(found[name][0]), 4) for name in NAMES]
        [0.6931, 0.2158, 0.5]
    """
    p, q = np.asarray(predicted, np.float64), np.asarray(target, np.float64)
    middle = (p + q) / 2
    return {"kl": _kl(q, p), "js": (_kl(p, middle) + _kl(q, middle)) / 2, "tv": np.abs(p - q).sum(-1) / 2}


def halves(votes: npt.NDArray[np.int64], seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split vote counts (n, K) at random into two halves (n, K); of an odd number, the second gets one more."""
    generator = np.random.default_rng(seed)
    first = np.stack([generator.multivariate_hypergeometric(row, int(row.sum()) // 2) for row in votes])
    return first, votes - first


def compare(predictions: Mapping[str, Any], votes: npt.NDArray[np.int64], baseline: npt.ArrayLike) -> dict[str, Any]:
    """Return mean distances with 95% intervals (bootstrap over images), of all votes and of the second half.

    Args:
        predictions: Predicted distributions (n, K) by name.
        votes: Vote counts (n, K).
        baseline: One distribution (K,) for every image, such as the mean of other images.
    """
    kept = votes.sum(1) >= 4  # two votes in each half
    votes = votes[kept]
    shown = {name: np.asarray(each)[kept] for name, each in predictions.items()}
    shown["the same for every image"] = np.broadcast_to(np.asarray(baseline, np.float64), votes.shape)
    whole = {name: distances(each, _shares(votes)) for name, each in shown.items()}
    split: dict[str, list[dict[str, Array]]] = {name: [] for name in (*shown, "half of the annotators")}
    for seed in range(SPLITS):
        first, second = halves(votes, seed)
        for name, each in shown.items():
            split[name].append(distances(each, _shares(second)))
        split["half of the annotators"].append(distances(_shares(first + PRIOR), _shares(second)))
    averaged = {
        name: {what: np.mean([found[what] for found in each], axis=0) for what in NAMES} for name, each in split.items()
    }
    return {
        "images": len(votes),
        "splits": SPLITS,
        "all votes": {name: _summary(each) for name, each in whole.items()},
        "second half": {name: _summary(each) for name, each in averaged.items()},
    }


def _shares(counts: npt.ArrayLike) -> Array:
    values = np.asarray(counts, np.float64)
    shares: Array = values / values.sum(-1, keepdims=True)
    return shares


def _kl(target: Array, predicted: Array) -> Array:
    ratio = np.where(target > 0, target / np.maximum(predicted, 1e-30), 1.0)
    found: Array = (target * np.log(ratio)).sum(-1)
    return found


def _summary(found: Mapping[str, Array]) -> dict[str, list[float]]:
    def mean(values: Array) -> list[float]:
        def statistic(weights: Weights) -> Array:
            means: Array = weights.astype(np.float64) @ values / weights.sum(1, dtype=np.float64)
            return means

        estimate = bootstrap(statistic, len(values))
        return [estimate.value, estimate.low, estimate.high]

    return {what: mean(found[what]) for what in NAMES}
