"""Random numbers for many faces at once: face i gets the same ones however many faces follow it."""

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
    """A generator of its own for every seed, purpose and column."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), column])


class Draws:
    """A table of random numbers, drawn column by column.

    Args:
        seed: of the whole set of faces.
        purpose: name of the table; tables of different names are independent.
        rows: how many numbers a column holds.
    """

    def __init__(self, seed: int, purpose: str, rows: int) -> None:
        self._columns = (stream(seed, purpose, column) for column in count())
        self._shape = (rows, 1, 1)

    def uniform(self, low: float, high: float) -> Array:
        """(rows, 1, 1), evenly spread over [low, high)."""
        column = next(self._columns).random(self._shape)
        return (low + (high - low) * column).astype(np.float32)

    def normal(self, mean: float, deviation: float) -> Array:
        """(rows, 1, 1), normal, but cut at two deviations so that no face falls apart."""
        column = next(self._columns).standard_normal(self._shape)
        return (mean + deviation * np.clip(column, -2, 2)).astype(np.float32)

    def chance(self, probability: float) -> Array:
        """(rows, 1, 1), one with the given probability, else zero."""
        return (next(self._columns).random(self._shape) < probability).astype(np.float32)

    def choice(self, options: npt.ArrayLike, weights: npt.ArrayLike) -> Array:
        """(rows, K, 1): for each row one of `options` (M, K), as often as `weights` (M,) say."""
        bounds = np.cumsum(np.asarray(weights, dtype=np.float64))
        position = bounds[-1] * next(self._columns).random(self._shape[0])
        return np.asarray(options, dtype=np.float32)[np.searchsorted(bounds, position, side="right"), :, None]


def take(table: Table, rows: npt.NDArray[np.int64] | slice) -> Table:
    """Those rows of every column of a dataclass of arrays."""
    return dataclasses.replace(table, **{f.name: getattr(table, f.name)[rows] for f in dataclasses.fields(table)})
