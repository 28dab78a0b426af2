"""Draw random numbers for many faces at once; those of face i do not depend on the number of faces."""

from __future__ import annotations

import dataclasses
import zlib
from itertools import count
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from qcs.data.synthetic.canvas import Array

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Table = TypeVar("Table", bound="DataclassInstance")


def stream(seed: int, purpose: str, column: int = 0) -> np.random.Generator:
    """Return an independent generator for every seed, purpose and column."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), column])


class Draws:
    """A table of random numbers, drawn column by column.

    Args:
        seed: Seed of the set of faces.
        purpose: Name of the table; tables of different names are independent.
        rows: Length of a column.
    """

    def __init__(self, seed: int, purpose: str, rows: int) -> None:
        self._columns = (stream(seed, purpose, column) for column in count())
        self._shape = (rows, 1, 1)

    def uniform(self, low: float, high: float) -> Array:
        """Draw (rows, 1, 1) uniformly from [low, high)."""
        column = next(self._columns).random(self._shape)
        return (low + (high - low) * column).astype(np.float32)

    def normal(self, mean: float, deviation: float) -> Array:
        """Draw (rows, 1, 1) from a normal distribution clipped at two deviations, which keeps faces plausible."""
        column = next(self._columns).standard_normal(self._shape)
        return (mean + deviation * np.clip(column, -2, 2)).astype(np.float32)

    def chance(self, probability: float) -> Array:
        """Draw (rows, 1, 1): one with the given probability, else zero."""
        return (next(self._columns).random(self._shape) < probability).astype(np.float32)

    def choice(self, options: npt.ArrayLike, weights: npt.ArrayLike) -> Array:
        """Draw (rows, K, 1): one of `options` (M, K) per row, with probabilities proportional to `weights` (M,)."""
        bounds = np.cumsum(np.asarray(weights, dtype=np.float64))
        position = bounds[-1] * next(self._columns).random(self._shape[0])
        return np.asarray(options, dtype=np.float32)[np.searchsorted(bounds, position, side="right"), :, None]


def take(table: Table, rows: npt.NDArray[np.int64] | slice) -> Table:
    """Return these rows of every column of a dataclass of arrays."""
    return dataclasses.replace(table, **{f.name: getattr(table, f.name)[rows] for f in dataclasses.fields(table)})
