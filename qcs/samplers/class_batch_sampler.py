"""Sample batches that hold every class, so that their images can be compared with an exemplar of each."""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import cached_property

import numpy as np

from qcs.samplers.branch_sampler import BranchSampler
from qcs.samplers.class_index import Indices, Labels


class ClassBatchSampler(BranchSampler):
    """Sample batches of single images with every class in each batch, `[one image of each class.., others..]`.

    The first K of the `batch_size` images are one image of each of the K classes, in the order of
    `sampler.classes.names` (sorted): exemplars for `qcs.layers.ExemplarCrossModule`. An epoch contains each image of
    the data set once, with two exceptions that make whole batches. A class with fewer images than there are batches
    repeats its images in turn, so that none appears more than once more often than another. Fewer than `batch_size`
    images at the end of a shuffle are left out; with several ranks, incomplete rounds of batches too.

    Ranks, resuming, epochs and other libraries are as for `BranchSampler`: every rank's batch has every class.

    Args:
        labels: One class per image of the dataset: all integers, or all names (strings), (N,).
        batch_size: Images per batch and rank, at least one for each class.
        fraction: Batches per epoch as a fraction of those of a whole epoch, in (0, 1], rounded down, at least one.
        seed: Seed of all random draws, at least 0.
        rank: Rank of this process, in [0, world_size).
        world_size: Number of processes that share each epoch.

    Raises:
        InputError: If an argument is out of range, labels are invalid, a batch cannot hold every class, or an epoch has
            no batch.

    Example:
        >>> labels = ["sad", "happy", "happy", "sad", "happy", "happy", "happy", "fear"]
        >>> for batch in ClassBatchSampler(labels, batch_size=4):
        ...     print([labels[i] for i in batch])
        ['fear', 'happy', 'sad', 'happy']
        ['fear', 'happy', 'sad', 'happy']
    """

    branches = 1

    def __init__(
        self,
        labels: Labels,
        batch_size: int,
        *,
        fraction: float = 1.0,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(labels, batch_size, fraction=fraction, seed=seed, rank=rank, world_size=world_size)

    @cached_property
    def _whole_epoch(self) -> int:
        """The number of batches that the images fill, all ranks together; 0 if a batch cannot hold every class."""
        counts, size = self.classes.counts, self._anchors_per_batch
        if size < len(counts):
            return 0

        def missing(batches: int) -> int:
            """Return how many images of that many batches the data set lacks; it grows with their number."""
            return batches * size - int(np.maximum(counts, batches).sum())

        return bisect_right(range(1, int(counts.max()) + 1), 0, key=missing)

    @property
    def _num_anchors(self) -> int:
        if not self._whole_epoch:
            return 0
        return self._anchors_per_batch * max(1, math.floor(self.fraction * self._whole_epoch + 1e-9))

    def _draw_anchors(self, rng: np.random.Generator) -> Indices:
        batches = self._whole_epoch
        shuffled = rng.permutation(len(self.classes))
        of_class = [shuffled[self.classes.codes[shuffled] == code] for code in range(len(self.classes.counts))]
        first = np.stack([_in_turn(rng, images, batches) for images in of_class], axis=1)
        others = rng.permutation(np.concatenate([images[batches:] for images in of_class]))
        places = batches * (self._anchors_per_batch - len(of_class))
        rest = others[:places].reshape(batches, -1)
        return np.concatenate([first, rest], axis=1).ravel()[: self._num_anchors]

    def _draw_partners(self, rng: np.random.Generator, anchors: Indices) -> tuple[Indices, ...]:
        return ()

    def _why_no_batch(self) -> str:
        size, classes = self._anchors_per_batch, len(self.classes.counts)
        if size < classes:
            return f"batch_size must be at least {classes}, one image of each class, got {size}"
        batches = self._num_anchors // size
        return (
            f"no batch in an epoch: {batches} batches of {size} images for world_size {self.world_size}; lower "
            "batch_size or world_size, or raise fraction"
        )


def _in_turn(rng: np.random.Generator, images: Indices, count: int) -> Indices:
    """Return `count` of the images; all come before one comes again, each turn in a new order."""
    turns = [images, *(rng.permutation(images) for _ in range((count - 1) // len(images)))]
    return np.concatenate(turns)[:count]
