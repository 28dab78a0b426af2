"""Process a grid of distances in strips: some tokens of one row image against all tokens of the column images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qcs.ops._numerics import CANCELLATION
from qcs.ops.analytic.attention import signs
from qcs.ops.analytic.distance import (
    CENTER_STRIDE,
    add_gradients_by_differences,
    replace_by_differences,
    squared_norms,
)

_ELEMENTS = 400_000  # distances of a strip that stay in the cache of a core
_ELEMENTS_ON_DEVICES = 1 << 25


class Strip(NamedTuple):
    """Distances (n, K, M) of some tokens of row image r, sample b, to all tokens of the K column images."""

    r: int
    b: int
    tokens: slice
    distances: Tensor

    @property
    def place(self) -> tuple[int, int, int]:
        return self.r, self.b, self.tokens.start

    @property
    def rows(self) -> tuple[Any, ...]:
        """Index of its rows in a tensor (R, K, B, N), selecting (K, n)."""
        return self.r, slice(None), self.b, self.tokens

    @property
    def columns(self) -> tuple[Any, ...]:
        """Index of sums over its rows in a tensor (R, K, B, ...), selecting (K, ...)."""
        return self.r, slice(None), self.b


class Grid:
    """R row images (B, N, C) against K column images (B, M, C).

    The first pass writes the distances to `kept` (B, R, N, K, M), later passes read them; if `kept` is empty, every
    pass computes them.
    """

    def __init__(self, rows: Sequence[Tensor], columns: Sequence[Tensor], kinds: str, kept: Tensor) -> None:
        self.rows, self.columns, self.kept = rows, columns, kept
        self.K, self.M = len(columns), columns[0].shape[1]
        dtype = torch.promote_types(rows[0].dtype, torch.float32)
        center = columns[0][:, ::CENTER_STRIDE].mean(1, keepdim=True, dtype=dtype)
        self.x = [image - center for image in rows]  # (B, N, C) each
        self.y = torch.cat([image - center for image in columns], 1)  # (B, K*M, C)
        self.x_norms = [squared_norms(x) for x in self.x]
        self.y_norms = squared_norms(self.y)
        self.bounds = torch.cat(self.x_norms, 1).amax(1) + self.y_norms.amax(1)  # on sums of two squared norms, (B)
        self.signs = signs(kinds, self.y).unsqueeze(-1)  # (R, K, 1)

    def first_pass(self) -> Iterator[Strip]:
        """Yield all strips with their distances computed, and kept if there is memory for them."""
        for r, b, tokens in self._places():
            out = self.kept[b, r, tokens].flatten(1) if self.kept.numel() else None
            yield Strip(r, b, tokens, self._distances(r, b, tokens, out))

    def strips(self) -> Iterator[Strip]:
        """Yield all strips after the first pass."""
        for r, b, tokens in self._places():
            kept = self.kept.numel() > 0
            yield Strip(r, b, tokens, self.kept[b, r, tokens] if kept else self._distances(r, b, tokens, None))

    def aligned(self, strip: Strip, least: Tensor) -> Tensor:
        """Return A = ±D - min(±D) of a strip, (n, K, M), given the minima (R, K, B)."""
        return (strip.distances * self.signs[strip.r]).sub_(least[strip.columns].unsqueeze(1))

    def canceled(self, r: int, b: int, tokens: slice, distances: Tensor) -> Tensor | None:
        """Return where the product form canceled (n, K, M), or None. NaN, from a square below 0, is cancellation."""
        x_norms, y_norms = self.x_norms[r][b, tokens], self.y_norms[b]
        if distances.amin().square() > CANCELLATION * (x_norms.amax() + y_norms.amax()):
            return None
        canceled = ~(distances.square() > CANCELLATION * (x_norms[:, None, None] + y_norms.view(self.K, self.M)))
        return canceled if canceled.any() else None

    def images(self, r: int, b: int, tokens: slice) -> tuple[list[Tensor], list[Tensor]]:
        """Return the tokens of a strip (1, n, C) and of the column images (1, M, C), not centered."""
        return [self.rows[r][b, None, tokens]], [column[b, None] for column in self.columns]

    def _places(self) -> Iterator[tuple[int, int, slice]]:
        B, N = self.x_norms[0].shape
        elements = _ELEMENTS if self.y.device.type == "cpu" else _ELEMENTS_ON_DEVICES
        length = max(1, elements // (self.K * self.M))
        for b in range(B):
            for r in range(len(self.x)):
                for start in range(0, N, length):
                    yield r, b, slice(start, min(start + length, N))

    def _distances(self, r: int, b: int, tokens: slice, out: Tensor | None) -> Tensor:
        out = torch.add(self.x_norms[r][b, tokens].unsqueeze(1), self.y_norms[b], out=out)
        torch.addmm(out, self.x[r][b, tokens], self.y[b].T, alpha=-2, out=out)
        distances = out.sqrt_().view(-1, self.K, self.M)
        canceled = self.canceled(r, b, tokens, distances)
        if canceled is not None:
            replace_by_differences(out[None], canceled.flatten(1)[None], *self.images(r, b, tokens))
        return distances


class TokenGradients:
    """Gradients of the tokens of a grid, accumulated strip by strip."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        B, N, C = grid.x[0].shape
        self.grad_rows = grid.y.new_empty(B, len(grid.x) * N, C)
        self.grad_columns = torch.zeros_like(grid.y)
        self.column_ratio_sums = grid.y.new_zeros(grid.y.shape[:2])

    def add(self, strip: Strip, grad_distances: Tensor) -> None:
        """Add a strip's terms, given the gradient of its distances (n, K, M)."""
        r, b, tokens, distances = strip
        x, y = self.grid.x[r][b, tokens], self.grid.y[b]
        grad_x = self.grad_rows[b].chunk(len(self.grid.x))[r][tokens]
        canceled = self.grid.canceled(r, b, tokens, distances)
        ratios = grad_distances / distances
        if canceled is not None:
            ratios.masked_fill_(canceled, 0)
        w = ratios.flatten(1)
        torch.mul(x, w.sum(1, keepdim=True), out=grad_x)
        torch.addmm(grad_x, w, y, alpha=-1, out=grad_x)
        self.grad_columns[b].addmm_(w.T, x, alpha=-1)
        self.column_ratio_sums[b] += w.sum(0)
        if canceled is not None:
            here, g, d = (t.flatten(1)[None] for t in (canceled, grad_distances, distances))
            images = self.grid.images(r, b, tokens)
            add_gradients_by_differences(grad_x[None], self.grad_columns[b, None], here, g, d, *images)

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Return those of the row tokens (B, R*N, C) and of the column tokens (B, K*M, C), after all strips."""
        self.grad_columns.addcmul_(self.grid.y, self.column_ratio_sums.unsqueeze(2))
        return self.grad_rows, self.grad_columns
