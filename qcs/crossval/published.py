"""Split as the published comparison does: random, over all images, into 60% training, 20% validation and 20% test.

The comparison (github.com/StevenHSKim/FER-crossval) calls `ShuffleSplit` and `train_test_split` of scikit-learn. These
draw from NumPy's `RandomState`, whose stream never changes, so the few lines here give the same splits with every
version of both; the tests compare them with scikit-learn.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from qcs.errors import InputError, check_choice

Indices = npt.NDArray[np.int64]
Variant = Literal["common", "integer", "64-16-20"]
VARIANTS: tuple[Variant, ...] = ("common", "integer", "64-16-20")

SEED = 42  # of the outer splits
REPEATS = 10
PUBLISHED_SIZES = {"raf_db": 15339, "fer2013": 35887, "ferplus": 35711, "expw": 90560, "sfew": 1634, "ckplus": 981}
"""Images of each data set in the published comparison, all splits together."""


class Split(NamedTuple):
    """Positions of the images of one repeat.

    Attributes:
        train: Training images, (n,).
        validation: Images that the epoch is chosen on, (n,).
        test: Images that only the chosen weights are evaluated on, (n,).
    """

    train: Indices
    validation: Indices
    test: Indices


def published_split(images: int, repeat: int, variant: Variant = "common") -> Split:
    """Return a split of the published comparison, in the order in which scikit-learn returns it.

    The outer splits are those of `ShuffleSplit(test_size=0.2, random_state=42)`, not stratified; test sets of different
    repeats overlap. The rest is split by `train_test_split(test_size=0.25, random_state=repeat)`.

    Two scripts of the comparison differ from the others in some data sets, see `docs/crossval.md`:

    * `"integer"` (DAN on FERPlus, ExpW, SFEW and CK+): test and validation sets have ⌊N/5⌋ images each, and validation
      is the end of the outer training set, without a second shuffle.
    * `"64-16-20"` (DDAMFN and Ada-DF on RAF-DB): the inner split has the fraction of the outer one, 0.2.

    Args:
        images: Number of images, N.
        repeat: Number of the repeat, from 0; the comparison has 10.
        variant: One of `VARIANTS`.

    Raises:
        InputError: If a set would be empty, the repeat is negative, or the variant is unknown.

    Example:
        >>> split = published_split(981, repeat=0)
        >>> [len(part) for part in split], split.test[:4].tolist()
        ([588, 196, 197], [789, 497, 139, 570])
    """
    check_choice("variant", variant, VARIANTS)
    if repeat < 0:
        raise InputError(f"the repeat is {repeat}; expected 0 or more")
    fifth = int(0.2 * images) if variant == "integer" else math.ceil(0.2 * images)
    if images < 5:
        raise InputError(f"{images} images are too few for training, validation and test sets; expected at least 5")
    outer = np.random.RandomState(SEED)
    for _ in range(repeat):
        outer.permutation(images)
    test, rest = np.split(outer.permutation(images), [fifth])
    if variant == "integer":
        return Split(rest[:-fifth], rest[-fifth:], test)
    held = math.ceil((0.25 if variant == "common" else 0.2) * len(rest))
    validation, train = np.split(np.random.RandomState(repeat).permutation(len(rest)), [held])
    return Split(rest[train], rest[validation], test)
