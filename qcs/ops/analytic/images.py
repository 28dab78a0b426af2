"""The row and column images of a grid as plain arguments: row, column and, two by two, a second row and column.

Autograd functions take a fixed number of tensors, so that compilers can trace them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor

T = TypeVar("T")


def present(first: Tensor, second: Tensor | None) -> list[Tensor]:
    """The images that are there."""
    return [first] if second is None else [first, second]


def halves(images: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Rows and columns of images saved rows first: a grid has as many of one as of the other."""
    return images[: len(images) // 2], images[len(images) // 2 :]


def in_order(of_rows: Tensor, of_columns: Tensor, count: int) -> list[Tensor]:
    """Row, column, second row, second column from tensors (B, count * N, C) that hold `count` images each."""
    pairs = zip(of_rows.chunk(count, 1), of_columns.chunk(count, 1), strict=True)
    return [image for pair in pairs for image in pair]


def padded(images: Sequence[T]) -> list[T | None]:
    """Four arguments, None for the images that are not there."""
    return [*images, *[None] * (4 - len(images))]
