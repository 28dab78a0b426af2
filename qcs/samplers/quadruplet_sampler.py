"""Sample quadruplets of two images from each of two classes, for the quadruplet network (QCS)."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from qcs.errors import InputError, check_choice
from qcs.samplers.branch_sampler import Balance, BranchSampler
from qcs.samplers.class_index import Indices, Labels

Negatives: TypeAlias = Literal["image", "class"]


class QuadrupletSampler(BranchSampler):
    """Sample batches of anchors, positives and two negatives, `[a.., p.., n.., n2..]`, for QCS (arXiv 2411.01988).

    p is uniform over the other images of a's class, n belongs to another class, and n2 is uniform over the other
    images of n's class. In a class with a single image that image is its own partner, and a warning at construction
    names the class. See `BranchSampler` for the other arguments, ranks and resuming.

    Args:
        negatives: Distribution of n. "image": uniform over all images of the other classes, so large classes are
            frequent. "class": uniform over the other classes, then over the images of that class.

    Raises:
        InputError: As `BranchSampler`, and if all labels are of one class.

    Example:
        >>> labels = ["sad", "happy", "sad", "happy", "fear", "fear"]
        >>> sampler = QuadrupletSampler(labels, batch_size=1, negatives="class")
        >>> a, p, n, n2 = (labels[i] for i in next(iter(sampler)))
        >>> a == p, n == n2, a == n
        (True, True, False)
    """

    branches = 4

    def __init__(
        self,
        labels: Labels,
        batch_size: int,
        *,
        balance: Balance = "none",
        negatives: Negatives = "image",
        fraction: float = 1.0,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = True,
    ) -> None:
        super().__init__(
            labels,
            batch_size,
            balance=balance,
            fraction=fraction,
            seed=seed,
            rank=rank,
            world_size=world_size,
            drop_last=drop_last,
        )
        self.negatives = check_choice("negatives", negatives, get_args(Negatives))
        if len(self.classes.names) < 2:
            raise InputError(
                f"quadruplets need labels of at least two classes, got only {self.classes.names.tolist()[0]!r}; "
                "use PairSampler for one class"
            )

    def _draw_partners(self, rng: np.random.Generator, anchors: Indices) -> tuple[Indices, ...]:
        positives = self.classes.draw_same_class(rng, anchors)
        if self.negatives == "image":
            negatives = self.classes.draw_cross_class(rng, anchors)
        else:
            negatives = self.classes.draw_members(rng, self.classes.draw_other_classes(rng, anchors))
        return positives, negatives, self.classes.draw_same_class(rng, negatives)

    def _configuration(self) -> dict[str, Any]:
        return {**super()._configuration(), "negatives": self.negatives}
