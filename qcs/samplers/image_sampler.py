"""Sample single images, to train a base network on the anchors of pairs and quadruplets."""

from __future__ import annotations

import numpy as np

from qcs.samplers.branch_sampler import BranchSampler
from qcs.samplers.class_index import Indices


class ImageSampler(BranchSampler):
    """Sample batches of anchors only, `[a..]`.

    The anchors are those of a `PairSampler` or `QuadrupletSampler` with the same arguments. See `BranchSampler` for the
    arguments, ranks and resuming.

    Example:
        >>> sampler = ImageSampler(["sad", "happy", "sad", "happy"], batch_size=2)
        >>> len(sampler), sorted(sum(sampler, []))
        (2, [0, 1, 2, 3])
    """

    branches = 1

    def _draw_partners(self, rng: np.random.Generator, anchors: Indices) -> tuple[Indices, ...]:
        return ()
