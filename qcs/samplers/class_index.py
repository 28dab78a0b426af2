"""Index a dataset by class, to draw images for a whole epoch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from qcs.errors import InputError

Labels: TypeAlias = Sequence[int] | Sequence[str] | npt.NDArray[Any] | torch.Tensor
Indices: TypeAlias = npt.NDArray[np.int64]


class ClassIndex:
    """List the images of every class one class after another, so that any uniform draw is one integer draw.

    `order` lists the image indices by class. Class `c` is the block of `counts[c]` entries that begins at `starts[c]`.
    A uniform draw outside a block is a draw among the remaining positions that skips the block: no rejection, no
    Python loop.

    Args:
        labels: One class per image: all integers, or all names (strings). Only classes that occur count, so
            integers may have gaps.

    Attributes:
        names: The classes that occur, sorted, (K,).
        codes: The class of every image as a row of `names`, (N,).
        counts: Images per class, (K,).

    Raises:
        InputError: If the labels are empty, not one-dimensional, or neither integers nor strings.

    Example:
        >>> index = ClassIndex(["sad", "happy", "sad"])
        >>> index.names.tolist(), index.codes.tolist(), index.counts.tolist()
        (['happy', 'sad'], [1, 0, 1], [1, 2])
    """

    def __init__(self, labels: Labels) -> None:
        self.names, codes = np.unique(_label_array(labels), return_inverse=True)
        self.codes: Indices = codes.astype(np.int64)
        self.counts: Indices = np.bincount(self.codes).astype(np.int64)
        self._starts: Indices = np.cumsum(self.counts) - self.counts
        self._order: Indices = np.argsort(self.codes, kind="stable").astype(np.int64)
        self._positions: Indices = np.empty_like(self._order)  # the inverse of order
        self._positions[self._order] = np.arange(len(self._order))

    def __len__(self) -> int:
        return len(self.codes)

    def draw_members(self, rng: np.random.Generator, classes: Indices) -> Indices:
        """Return a uniform image of each given class, (M,) → (M,)."""
        return self._order.take(self._starts[classes] + rng.integers(0, self.counts[classes]))

    def draw_same_class(self, rng: np.random.Generator, images: Indices) -> Indices:
        """Return a uniform other image of each image's class, or the image itself if it is alone, (M,) → (M,)."""
        classes = self.codes[images]
        last = self.counts[classes] - 1
        own = self._positions[images] - self._starts[classes]
        drawn = rng.integers(0, np.maximum(last, 1))
        drawn = np.minimum(drawn + (drawn >= own), last)  # the minimum matters only for a class with a single image
        return self._order.take(self._starts[classes] + drawn)

    def draw_cross_class(self, rng: np.random.Generator, images: Indices) -> Indices:
        """Return a uniform image among all images of the other classes, (M,) → (M,)."""
        classes = self.codes[images]
        drawn = rng.integers(0, len(self) - self.counts[classes])
        return self._order.take(drawn + (drawn >= self._starts[classes]) * self.counts[classes])

    def draw_other_classes(self, rng: np.random.Generator, images: Indices) -> Indices:
        """Return a uniform class among those other than each image's own, (M,) → (M,)."""
        classes = self.codes[images]
        drawn = rng.integers(0, len(self.counts) - 1, size=len(images))
        return drawn + (drawn >= classes)


def _label_array(labels: Labels) -> npt.NDArray[Any]:
    values: Any = labels.tolist() if isinstance(labels, torch.Tensor) else labels
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise InputError("labels must be one-dimensional, got a nested sequence; give one class per image") from error
    if array.ndim != 1:
        raise InputError(f"labels must be one-dimensional, got shape {array.shape}; give one class per image")
    if array.size == 0:
        raise InputError("labels are empty; give one class per image")
    if array.dtype.kind in "iu":
        return array
    # Check the values, not the array: NumPy has already converted [1, "sad"] to two strings.
    if all(isinstance(value, str) for value in values):
        return array.astype(str)
    raise InputError(f"labels must be all integers or all names (strings), got {_types_found(values)}")


def _types_found(values: Sequence[Any]) -> str:
    first: dict[str, str] = {}
    for i, value in enumerate(values):
        first.setdefault(type(value).__name__, f"{type(value).__name__} (first at labels[{i}] = {value!r})")
    return " and ".join(first.values())
