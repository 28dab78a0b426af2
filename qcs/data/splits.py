"""Split datasets: hold out a validation set, make folds by subject, and merge splits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from qcs.data.dataset import LabeledImages
from qcs.errors import InputError


def hold_out(dataset: LabeledImages, fraction: float = 0.1, seed: int = 0) -> tuple[LabeledImages, LabeledImages]:
    """Hold out a random validation set from a training set, stratified by class.

    If the subjects are known, no subject is in both sets: faces known from training would bias the validation.

    Args:
        dataset: Images to split.
        fraction: Fraction of each class to hold out, between 0 and 1. A class with two or more images has at least one
            in each set; a single image stays in the training set. Subjects are held out as a whole, so that the
            fraction is then an upper limit.
        seed: Seed of the split.

    Returns:
        The training set and the validation set, each in the original order.

    Raises:
        InputError: `fraction` is not between 0 and 1, no class has two images, or every subject exceeds the fraction.

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
        raise InputError("no class has two images to hold one out for validation; give a validation split")
    choose = _images_held if dataset.subjects is None else _subjects_held
    held = choose(dataset, quota, generator)
    if not held.any():
        raise InputError(
            f"every subject has more than the fraction {fraction:g} of a class; give a larger fraction or a "
            f"validation split"
        )
    return dataset.subset(~held), dataset.subset(held)


def subject_folds(dataset: LabeledImages, folds: int = 10) -> list[tuple[LabeledImages, LabeledImages]]:
    """Split into folds for subject-independent cross-validation.

    This is the usual protocol on CK+: subjects in ascending order, the i-th in fold i modulo the number of folds.

    Args:
        dataset: Images whose subjects are known.
        folds: Number of folds, at least 2.

    Returns:
        The training set and the test set of each fold, each in the original order.

    Raises:
        InputError: The subjects are unknown, or there are fewer subjects than folds.

    Example:
        >>> faces = LabeledImages(np.zeros((4, 8, 8), np.uint8), [0, 1, 0, 1], ["happy", "sad"], subjects=list("abac"))
        >>> [test.names.tolist() for _, test in subject_folds(faces, 2)]
        [['0', '2', '3'], ['1']]
    """
    if dataset.subjects is None:
        raise InputError("the subjects of these images are unknown; folds by subject need them")
    names, subjects = np.unique(dataset.subjects, return_inverse=True)
    if not 2 <= folds <= len(names):
        raise InputError(f"the number of folds is {folds}; expected from 2 to {len(names)}, the number of subjects")
    return [
        (dataset.subset(subjects % folds != fold), dataset.subset(subjects % folds == fold)) for fold in range(folds)
    ]


def merge(splits: Mapping[str, LabeledImages]) -> LabeledImages:
    """Concatenate splits into one dataset.

    Args:
        splits: Datasets of the same classes, as returned by `read`.

    Returns:
        All images, with the transform of the first split. Soft targets, subjects and boxes are kept if every split has
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
    """Hold out subjects in random order, each if it fits the remaining quota of every class."""
    names, subjects = np.unique(np.asarray(dataset.subjects), return_inverse=True)
    images = np.zeros((len(names), len(quota)), dtype=np.int64)
    np.add.at(images, (subjects, dataset.labels), 1)
    left, chosen = quota.copy(), np.zeros(len(names), dtype=bool)
    for subject in generator.permutation(len(names)):
        chosen[subject] = (images[subject] <= left).all()
        left -= images[subject] * chosen[subject]
    return chosen[subjects]
