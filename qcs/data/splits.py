"""Splits made here: a validation part held out, folds of subjects, and splits joined again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from qcs.data.dataset import LabeledImages
from qcs.errors import InputError


def hold_out(dataset: LabeledImages, fraction: float = 0.1, seed: int = 0) -> tuple[LabeledImages, LabeledImages]:
    """Splits a validation part off a training set, at random within each class.

    Where the subjects are known nobody is in both parts: a network that knows a face from training would look better in
    validation than it is.

    Args:
        dataset: Images to split.
        fraction: Share of each class to hold out, between 0 and 1. Of a class with two images or more at least one is
            held out and at least one is kept; a single image is kept. With subjects, who come whole, the share is an
            upper limit.
        seed: The same seed gives the same split.

    Returns:
        The training part and the validation part, each in the original order.

    Raises:
        InputError: `fraction` is not between 0 and 1, or no class has two images, or no subject is small enough.

    Example:
        >>> faces = LabeledImages(np.zeros((25, 8, 8), np.uint8), [0] * 20 + [1] * 4 + [2], ["happy", "sad", "fear"])
        >>> [part.class_counts() for part in hold_out(faces)]
        [{'happy': 18, 'sad': 3, 'fear': 1}, {'happy': 2, 'sad': 1, 'fear': 0}]
    """
    if not 0 < fraction < 1:
        raise InputError(f"the fraction to hold out is {fraction}; expected a number between 0 and 1")
    generator = np.random.default_rng(seed)
    quota = np.array([_quota(count, fraction) for count in dataset.class_counts().values()])
    if not quota.any():
        raise InputError("no class has two images, so none can be held out for validation; give a validation split")
    choose = _images_held if dataset.subjects is None else _subjects_held
    held = choose(dataset, quota, generator)
    if not held.any():
        raise InputError(
            f"every subject has more images than the share of {fraction:g} of a class; give a larger fraction or a "
            f"validation split"
        )
    return dataset.subset(~held), dataset.subset(held)


def subject_folds(dataset: LabeledImages, folds: int = 10) -> list[tuple[LabeledImages, LabeledImages]]:
    """Splits for cross-validation in which nobody is both trained and tested on.

    The usual protocol on CK+: subjects in ascending order, the i-th in fold i modulo the number of folds.

    Args:
        dataset: Images whose subjects are known.
        folds: Number of folds, at least 2.

    Returns:
        For each fold the images of all other subjects and those of its own, each in the original order.

    Raises:
        InputError: The subjects are not known, or fewer than the folds.

    Example:
        >>> faces = LabeledImages(np.zeros((4, 8, 8), np.uint8), [0, 1, 0, 1], ["happy", "sad"], subjects=list("abac"))
        >>> [test.names.tolist() for _, test in subject_folds(faces, 2)]
        [['0', '2', '3'], ['1']]
    """
    if dataset.subjects is None:
        raise InputError("the subjects of these images are not known; folds of subjects need them")
    names, subjects = np.unique(dataset.subjects, return_inverse=True)
    if not 2 <= folds <= len(names):
        raise InputError(f"the number of folds is {folds}; expected from 2 to {len(names)}, the number of subjects")
    return [
        (dataset.subset(subjects % folds != fold), dataset.subset(subjects % folds == fold)) for fold in range(folds)
    ]


def merge(splits: Mapping[str, LabeledImages]) -> LabeledImages:
    """Joins splits into one dataset, one after another.

    Args:
        splits: Datasets of the same classes, as `read` returns them.

    Returns:
        All images, under the transform of the first split. Soft targets, subjects and boxes stay where every split has
        them.

    Raises:
        InputError: There is no split, or two splits have different classes.

    Example:
        >>> faces = LabeledImages(np.zeros((4, 8, 8), np.uint8), [0, 0, 1, 1], ["happy", "sad"])
        >>> train, validation = hold_out(faces, 0.5)
        >>> len(merge({"train": train, "validation": validation}))
        4
    """
    if len({part.classes for part in splits.values()}) != 1:
        listed = "; ".join(f"{name}: {', '.join(part.classes)}" for name, part in splits.items())
        raise InputError(f"cannot merge splits of different classes ({listed or 'no split given'})")
    parts = list(splits.values())
    optional = {name: [getattr(part, name) for part in parts] for name in ("soft", "subjects", "boxes")}
    shared = {name: np.concatenate(of) for name, of in optional.items() if all(array is not None for array in of)}
    return LabeledImages(
        [image for part in parts for image in part.images],
        np.concatenate([part.labels for part in parts]),
        parts[0].classes,
        names=np.concatenate([part.names for part in parts]),
        transform=parts[0].transform,
        **shared,
    )


def _quota(count: int, fraction: float) -> int:
    return min(max(round(fraction * count), 1), count - 1) if count > 1 else 0


def _images_held(
    dataset: LabeledImages, quota: npt.NDArray[np.int64], generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    held = np.zeros(len(dataset), dtype=bool)
    for label, count in enumerate(quota):
        held[generator.permutation(np.flatnonzero(dataset.labels == label))[:count]] = True
    return held


def _subjects_held(
    dataset: LabeledImages, quota: npt.NDArray[np.int64], generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Subjects in random order, each held out if it fits into what is left of every class's share."""
    names, subjects = np.unique(np.asarray(dataset.subjects), return_inverse=True)
    images = np.zeros((len(names), len(quota)), dtype=np.int64)
    np.add.at(images, (subjects, dataset.labels), 1)
    left, chosen = quota.copy(), np.zeros(len(names), dtype=bool)
    for subject in generator.permutation(len(names)):
        chosen[subject] = (images[subject] <= left).all()
        left -= images[subject] * chosen[subject]
    return chosen[subjects]
