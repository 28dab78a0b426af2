"""Count the images of a split that have a pixel-identical copy in another split."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from qcs.data import LabeledImages


def copied(images: LabeledImages, *others: LabeledImages) -> npt.NDArray[np.bool_]:
    """Return which images have the pixels of an image of the others.

    Example:
        >>> pixels = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
        >>> faces = LabeledImages(pixels, [0, 0, 0], ["happy"])
        >>> copied(faces, faces.subset([1])).tolist()
        [False, True, False]
    """
    known = {np.asarray(image).tobytes() for other in others for image in other.images}
    return np.array([np.asarray(image).tobytes() in known for image in images.images], dtype=bool)


def counts(splits: Mapping[str, LabeledImages]) -> dict[str, Any]:
    """Return how many images of each split have a copy in each other split, and how many groups of copies there are.

    A group is one picture and all its copies; `groups_across` counts those with images in more than one split. A group
    may hold many faces, so its number is not a number of faces.
    """
    homes: dict[bytes, list[str]] = {}
    for name, images in splits.items():
        for image in images.images:
            homes.setdefault(np.asarray(image).tobytes(), []).append(name)
    across = sum(len(set(found)) > 1 for found in homes.values())
    pairs = {f"{a} in {b}": int(copied(splits[a], splits[b]).sum()) for a, b in permutations(splits, 2)}
    others = [images for name, images in splits.items() if name != "test"]
    return {"groups_across": across, **pairs, "test in any other": int(copied(splits["test"], *others).sum())}
