"""Sample pairs of images of one class, for the dual network (DCS)."""

from __future__ import annotations

import numpy as np

from qcs.samplers.branch_sampler import BranchSampler
from qcs.samplers.class_index import Indices


class PairSampler(BranchSampler):
    """Sample batches of anchors and positives, `[a.., p..]`, for the dual network DCS (arXiv 2411.01988).

    A positive is uniform over the other images of the anchor's class. In a class with a single image it is the
    anchor itself, and a warning at construction names the class. See `BranchSampler` for the arguments, ranks and
    resuming.

    Example:
        >>> labels = ["sad", "happy", "sad", "happy"]
        >>> anchor, positive = next(iter(PairSampler(labels, batch_size=1)))
        >>> labels[anchor] == labels[positive], anchor == positive
        (True, False)
    """

    branches = 2

    def _draw_partners(self, rng: np.random.Generator, anchors: Indices) -> tuple[Indices, ...]:
        return (self.classes.draw_same_class(rng, anchors),)
