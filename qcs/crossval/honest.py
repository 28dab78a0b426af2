"""Split so that a test image is new: the official test set apart, or groups of images that stay together.

Where the data has official splits, its test set is the test set of every repeat; without a test set (SFEW 2.0,
AffectNet), its validation set is, as in the literature. Elsewhere images are split by group, stratified by class.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from qcs.crossval.pool import Pool
from qcs.crossval.published import SEED, Split
from qcs.errors import InputError

FOLDS = 5  # of which one is the test set: a fifth, as in the published comparison
INNER = 4  # folds of the rest, of which one is the validation set: another fifth of all
HELD_OUT = 10  # folds of official training images, of which one is the validation set

Mask = npt.NDArray[np.bool_]


def honest_split(pool: Pool, repeat: int) -> Split:
    """Return a split without leaks, stratified by class.

    * With an official test set, it is the test set of every repeat, and the official validation set is the validation
      set; without one a tenth of the training images is, another one in every repeat. Training images of a group that
      is in test or validation are left out, and validation images of a group that is in test.
    * Otherwise the test sets of five repeats that follow one another are the folds of a cross-validation; a fourth of
      the rest is the validation set. No group is in two sets.

    Args:
        pool: The images.
        repeat: Number of the repeat, from 0.

    Raises:
        InputError: If the images are too few: a class has fewer than three groups, or would be missing in training.

    Example:
        >>> from qcs.data import LabeledImages
        >>> faces = LabeledImages(np.zeros((40, 8, 8), np.uint8), [0, 1] * 20, ["happy", "sad"])
        >>> [len(part) for part in honest_split(Pool(faces, None, np.arange(40)), repeat=0)]
        [24, 8, 8]
    """
    if repeat < 0:
        raise InputError(f"the repeat is {repeat}; expected 0 or more")
    split = _grouped(pool, repeat) if kept_apart(pool) is None else _official(pool, repeat)
    return checked(split, pool)


def kept_apart(pool: Pool) -> str | None:
    """Return the official split that is the test set of every repeat; None if images are split by group."""
    if pool.official is None:
        return None
    return next((name for name in ("test", "validation") if name in pool.official and "train" in pool.official), None)


def checked(split: Split, pool: Pool) -> Split:
    """Return the split if no set is empty and every class has training images.

    Raises:
        InputError: Otherwise.
    """
    for name, part in zip(split._fields, split, strict=True):
        if not len(part):
            raise InputError(f"the {len(pool):,} images are too few for this split: it leaves none for {name}")
    labels = pool.images.labels
    absent = np.setdiff1d(labels, labels[split.train])
    if absent.size:
        names = ", ".join(pool.images.classes[label] for label in absent)
        raise InputError(f"the {len(pool):,} images are too few for this split: none of {names} is left for training")
    return split


def shared_with_training(split: Split, pool: Pool) -> dict[str, int]:
    """Count the validation and test images of a group that also has training images: each is a leak."""
    known = np.unique(pool.groups[split.train])
    return {name: int(np.isin(pool.groups[getattr(split, name)], known).sum()) for name in ("validation", "test")}


def _official(pool: Pool, repeat: int) -> Split:
    official = np.asarray(pool.official)
    test = official == kept_apart(pool)
    validation = (official == "validation") & ~test & ~_with_group_in(pool, test)
    train = (official == "train") & ~_with_group_in(pool, test | validation)
    if not validation.any():
        rows = np.flatnonzero(train)
        held = _fold(pool, rows, HELD_OUT, seed=repeat, fold=0)
        return Split(rows[~held], rows[held], np.flatnonzero(test))
    return Split(*map(np.flatnonzero, (train, validation, test)))


def _grouped(pool: Pool, repeat: int) -> Split:
    every = np.arange(len(pool))
    test = _fold(pool, every, FOLDS, seed=SEED + repeat // FOLDS, fold=repeat % FOLDS)
    rest = every[~test]
    held = _fold(pool, rest, INNER, seed=repeat, fold=0)
    return Split(rest[~held], rest[held], every[test])


def _with_group_in(pool: Pool, mask: Mask) -> Mask:
    return np.isin(pool.groups, np.unique(pool.groups[mask]))


def _fold(pool: Pool, rows: npt.NDArray[np.int64], folds: int, *, seed: int, fold: int) -> Mask:
    """Which of these images are in one of the folds, by group and stratified by class."""
    from sklearn.model_selection import StratifiedGroupKFold

    labels, groups = pool.images.labels[rows], pool.groups[rows]
    few = [
        (name, count)
        for label, name in enumerate(pool.images.classes)
        if 0 < (count := len(np.unique(groups[labels == label]))) < 3
    ]
    if few or len(np.unique(groups)) < folds:
        what = f"class {few[0][0]} has {few[0][1]}" if few else f"there are {len(np.unique(groups))}"
        raise InputError(
            f"the {len(pool):,} images are too few for a split by group: {what} independent groups of images, expected "
            f"at least {3 if few else folds}; leave the class out (classes), or add images"
        )
    splitter: Any = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with fewer images than folds
        held = list(splitter.split(rows, labels, groups))[fold][1]
    mask = np.zeros(len(rows), bool)
    mask[held] = True
    return mask
