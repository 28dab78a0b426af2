"""List the published image counts of the datasets, and compare data with them."""

from __future__ import annotations

from collections.abc import Mapping

from qcs.data.dataset import LabeledImages
from qcs.data.labels import CLASSES

Counts = tuple[int, ...] | int
"""Images of each class in the order of `CLASSES`, or the total if only that is known."""

PUBLISHED: dict[str, dict[str, tuple[Counts, ...]]] = {
    "raf_db": {
        "train": ((1290, 281, 717, 4772, 1982, 705, 2524),),
        "test": ((329, 74, 160, 1185, 478, 162, 680),),
    },
    "fer2013": {
        "train": ((3995, 436, 4097, 7215, 4830, 3171, 4965),),
        "validation": (3589,),
        "test": (3589,),
    },
    "expw": {"all": ((3671, 3995, 1088, 30537, 10559, 7060, 34883),)},
    "sfew": {
        "train": ((178, 66, 98, 198, 150, 172, 96), 891),  # the second counts the faces aligned by the authors
        "validation": ((77, 23, 47, 73, 86, 73, 57), 431),
    },
    "ckplus": {"all": ((135, 54, 177, 75, 207, 84, 249),)},
    "affectnet7": {
        "train": ((74874, 134415, 25459, 14090, 6378, 3803, 24882),),
        "validation": ((500,) * 7,),
    },
    "affectnet8": {
        "train": ((74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750),),
        "validation": ((500,) * 8, (500,) * 7 + (499,)),
    },
}
"""Counts in use for each dataset and split, the most common first."""

FERPLUS: dict[str, dict[str, tuple[Counts, ...]]] = {
    "majority": {
        "train": ((8740, 7287, 3149, 3014, 2100, 119, 532, 119),),
        "validation": ((1182, 865, 415, 351, 287, 24, 62, 13),),
        "test": ((1090, 893, 396, 384, 273, 18, 83, 16),),
    },
    "shares": {"train": (25060,), "validation": (3199,), "test": (3153,)},
    "probability": {"train": (27956,), "validation": (3505,), "test": (3505,)},
    "multi_target": {"train": (27671,), "validation": (3472,), "test": (3472,)},
    "argmax": {"train": (28389,), "validation": (3553,), "test": (3546,)},
    "select_first": {"train": (28559,), "validation": (3579,), "test": (3573,)},
    "select_last": {"train": (28559,), "validation": (3579,), "test": (3573,)},
}
"""Counts of FERPlus by vote rule."""


def published(dataset: str, rule: str = "majority") -> dict[str, tuple[Counts, ...]]:
    """Return the published counts of a dataset by split; empty if none are known.

    Args:
        dataset: A key of `CLASSES`.
        rule: Vote rule, for FERPlus.

    Example:
        >>> published("raf_db")["test"]
        ((329, 74, 160, 1185, 478, 162, 680),)
    """
    return FERPLUS[rule] if dataset == "ferplus" else PUBLISHED.get(dataset, {})


def differences(dataset: str, splits: Mapping[str, LabeledImages], rule: str = "majority") -> list[str]:
    """Return a line for each split whose counts differ from the published ones.

    Args:
        dataset: A key of `CLASSES`.
        splits: Images by split, with the classes of the dataset.
        rule: As for `published`.

    Example:
        >>> import numpy as np
        >>> differences("raf_db", {"test": LabeledImages(np.zeros((2, 8, 8), np.uint8), [0, 1], CLASSES["raf_db"])})[0]
        'raf_db test has 2 images, published 3,068: surprise 1 (329), fear 1 (74), disgust 0 (160), happy 0 (1,185), \
sad 0 (478), anger 0 (162), neutral 0 (680)'
    """
    lines = []
    for split, known in published(dataset, rule).items():
        if split in splits:
            counts = splits[split].class_counts()
            found = tuple(counts[name] for name in CLASSES[dataset])
            if not any(found == expected or sum(found) == expected for expected in known):
                lines.append(f"{dataset} {split} has {_difference(found, known[0], CLASSES[dataset])}")
    return lines


def _difference(found: tuple[int, ...], expected: Counts, classes: tuple[str, ...]) -> str:
    if isinstance(expected, int):
        return f"{sum(found):,} images, published {expected:,}"
    pairs = [f"{name} {a:,} ({b:,})" for name, a, b in zip(classes, found, expected, strict=True) if a != b]
    return f"{sum(found):,} images, published {sum(expected):,}: {', '.join(pairs)}"
