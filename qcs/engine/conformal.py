"""Sets of labels that hold the right one with a stated probability, and confidences that keep errors rare.

Both are found on images that the network was not trained on, and hold for images drawn like them (exchangeable), for no
others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qcs.engine.evaluation import wilson

Floats = npt.NDArray[np.floating]
LEAST_ACCEPTED = 50  # images; of fewer, no share of errors is known


def set_thresholds(probabilities: Floats, labels: npt.NDArray[np.int64], coverages: Sequence[float]) -> list[float]:
    """Return the least probability of the classes in a set, for each coverage (split conformal prediction).

    A set of the classes with at least this probability holds the label of a new image with at least that coverage
    (least ambiguous sets: Sadinle, Lei and Wasserman, JASA 2019, arXiv 1609.00451).

    Args:
        probabilities: (n, K).
        labels: Index of the true class, (n,).
        coverages: In (0, 1).

    Example:
        >>> import numpy as np
        >>> sure = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
        >>> set_thresholds(sure, np.array([0, 0, 1]), [0.5, 0.75, 0.9])
        [0.8, 0.7, 0.0]
    """
    of_label = np.sort(probabilities[np.arange(len(labels)), labels].astype(np.float64))[::-1]
    # The k-th largest of n values is reached by a new one with probability k / (n + 1); beyond n, only 0 is certain.
    ranks = [math.ceil((len(labels) + 1) * coverage - 1e-9) for coverage in coverages]
    return [float(of_label[rank - 1]) if rank <= len(labels) else 0.0 for rank in ranks]


def label_sets(probabilities: Floats, threshold: float) -> npt.NDArray[np.bool_]:
    """Return which classes are in the set of each image, (n, K); the most probable one always is.

    Example:
        >>> import numpy as np
        >>> label_sets(np.array([[0.5, 0.4, 0.1]]), 0.3).tolist()
        [[True, True, False]]
    """
    return (probabilities >= threshold) | (probabilities == probabilities.max(-1, keepdims=True))


def risk_thresholds(confidence: Floats, correct: npt.NDArray[np.bool_], risks: Sequence[float]) -> list[float | None]:
    """Return the least confidence with which answers are wrong no more often than each risk; None if there is none.

    Confidences are tried from the highest one down, and accepted while the upper end of the 95% interval of the share
    of errors stays below the risk. The first that is not ends the search, so that trying many costs no certainty (fixed
    sequence testing: Angelopoulos et al., arXiv 2110.01052).

    Args:
        confidence: Probability of the predicted class, (n,).
        correct: Whether it is the true class, (n,).
        risks: In (0, 1).
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], np.cumsum(~correct[order])
    steps = [step for step in np.arange(0.99, 0.0, -0.01) if (ranked >= step).sum() >= LEAST_ACCEPTED]
    tried = []
    for step in steps:
        accepted = int((ranked >= step).sum())
        tried.append((float(step), wilson(int(wrong[accepted - 1]), accepted)[1]))
    return [_last_below(tried, risk) for risk in risks]


def _last_below(tried: Sequence[tuple[float, float]], risk: float) -> float | None:
    found = None
    for step, bound in tried:
        if bound > risk:
            break
        found = round(step, 2)
    return found
