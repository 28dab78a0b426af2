"""Find images of different splits that show nearly the same picture: resized, recompressed, brighter, slightly cropped.

Each image is reduced to a difference hash: a small grayscale version, and whether each pixel is brighter than its left
neighbor. Equal pictures differ in few of these bits, whatever their size, format and brightness.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 16  # of the small version, in pixels
BITS = SIDE * SIDE
NEAR = 20  # largest number of bits by which the hashes of near-duplicates differ
FLAT = 2.0  # standard deviation, of 255, below which an image shows nothing to compare
BLOCK = 2048  # images of each split that are compared at a time

Hash = npt.NDArray[np.bool_]


class NearDuplicate(NamedTuple):
    """Two images of different splits whose hashes differ in few bits.

    Attributes:
        split: Split of the first image.
        name: Its name.
        other_split: Split of the second image.
        other_name: Its name.
        bits: Number of bits in which the hashes differ, 0 to `NEAR`.
    """

    split: str
    name: str
    other_split: str
    other_name: str
    bits: int


class Hashed(NamedTuple):
    """The name of an image, an identity that exact copies share, and its hash."""

    name: str
    content: object
    hash: Hash


def difference_hash(image: Image.Image) -> Hash | None:
    """Return the difference hash (`BITS`,) of an image; None for an image that is nearly uniform.

    Example:
        >>> ramp = Image.fromarray(np.tile(np.arange(48, dtype=np.uint8) * 5, (48, 1)))
        >>> bool(difference_hash(ramp).all()), difference_hash(Image.new("L", (48, 48))) is None
        (True, True)
    """
    small = np.asarray(image.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX), dtype=np.int16)
    if small.std() < FLAT:
        return None
    bits: Hash = (small[:, 1:] > small[:, :-1]).reshape(-1)
    return bits


def near_duplicates(splits: Mapping[str, Sequence[Hashed]]) -> list[NearDuplicate]:
    """Return pairs of images from different splits that are nearly but not exactly equal, the most similar first."""
    pairs = [pair for first, second in combinations(splits, 2) for pair in _between(splits, first, second)]
    return sorted(pairs, key=lambda pair: pair.bits)


def _between(splits: Mapping[str, Sequence[Hashed]], first: str, second: str) -> Iterator[NearDuplicate]:
    for own in _blocks(splits[first]):
        signs = _signs(own)
        for others in _blocks(splits[second]):
            bits = (BITS - signs @ _signs(others).T) / 2  # the product counts equal bits minus different ones
            for row, column in np.argwhere(bits <= NEAR).tolist():
                a, b = own[row], others[column]
                if a.content != b.content:
                    yield NearDuplicate(first, a.name, second, b.name, int(bits[row, column]))


def _blocks(images: Sequence[Hashed]) -> Iterator[Sequence[Hashed]]:
    return (images[start : start + BLOCK] for start in range(0, len(images), BLOCK))


def _signs(images: Sequence[Hashed]) -> npt.NDArray[np.float32]:
    return np.stack([image.hash for image in images]).astype(np.float32) * 2 - 1
