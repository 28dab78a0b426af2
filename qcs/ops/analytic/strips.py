"""A grid of distances strip by strip: some tokens of one row image against all tokens of the column images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qcs.ops.analytic.aligned import signs
from qcs.ops.analytic.differences import pull_by_differences, replace_by_differences
from qcs.ops.analytic.distance import CENTRE_STRIDE, squared_norms
from qcs.ops.numerics import CANCELLATION

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
        """Where its rows lie in a tensor (R, K, B, N): a part (K, n)."""
        return self.r, slice(None), self.b, self.tokens

    @property
    def columns(self) -> tuple[Any, ...]:
        """Where sums over its rows belong in a tensor (R, K, B, ...): a part (K, ...)."""
        return self.r, slice(None), self.b


class Grid:
    """R row images (B, N, C) against K column images (B, M, C).

    Distances are written to `kept` (B, R, N, K, M) in the first pass and read from there later, or, where it is empty,
    computed in every pass.
    """

    def __init__(self, rows: Sequence[Tensor], columns: Sequence[Tensor], kinds: str, kept: Tensor) -> None:
        self.rows, self.columns, self.kept = rows, columns, kept
        self.K, self.M = len(columns), columns[0].shape[1]
        dtype = torch.promote_types(rows[0].dtype, torch.float32)
        centre = columns[0][:, ::CENTRE_STRIDE].mean(1, keepdim=True, dtype=dtype)
        self.x = [image - centre for image in rows]  # (B, N, C) each
        self.y = torch.cat([image - centre for image in columns], 1)  # (B, K*M, C)
        self.x_norms = [squared_norms(x) for x in self.x]
        self.y_norms = squared_norms(self.y)
        self.bounds = torch.cat(self.x_norms, 1).amax(1) + self.y_norms.amax(1)  # on sums of two squared norms, (B)
        self.signs = signs(kinds, self.y).unsqueeze(-1)  # (R, K, 1)

    def first_pass(self) -> Iterator[Strip]:
        """All strips with distances computed, and kept if there is room."""
        for r, b, tokens in self._places():
            out = self.kept[b, r, tokens].flatten(1) if self.kept.numel() else None
            yield Strip(r, b, tokens, self._distances(r, b, tokens, out))

    def strips(self) -> Iterator[Strip]:
        """All strips after the first pass."""
        for r, b, tokens in self._places():
            kept = self.kept.numel() > 0
            yield Strip(r, b, tokens, self.kept[b, r, tokens] if kept else self._distances(r, b, tokens, None))

    def aligned(self, strip: Strip, least: Tensor) -> Tensor:
        """A = ±D - min(±D) of a strip, (n, K, M), given the minima (R, K, B)."""
        return (strip.distances * self.signs[strip.r]).sub_(least[strip.columns].unsqueeze(1))

    def lost(self, r: int, b: int, tokens: slice, distances: Tensor) -> Tensor | None:
        """Where the product form cancelled (n, K, M), or None. NaN, from a square below 0, is cancellation."""
        x_norms, y_norms = self.x_norms[r][b, tokens], self.y_norms[b]
        if distances.amin().square() > CANCELLATION * (x_norms.amax() + y_norms.amax()):
            return None
        lost = ~(distances.square() > CANCELLATION * (x_norms[:, None, None] + y_norms.view(self.K, self.M)))
        return lost if lost.any() else None

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
        lost = self.lost(r, b, tokens, distances)
        if lost is not None:
            for k, column in enumerate(self.columns):
                row = self.rows[r][b, None, tokens]
                replace_by_differences(distances[None, :, k], lost[None, :, k], row, column[b, None])
        return distances


class Pull:
    """Gradients of the tokens of a grid, gathered strip by strip: all tokens are pulled along their differences."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        B, N, C = grid.x[0].shape
        self.of_rows = grid.y.new_empty(B, len(grid.x) * N, C)
        self.of_columns = torch.zeros_like(grid.y)
        self.column_weights = grid.y.new_zeros(grid.y.shape[:2])

    def add(self, strip: Strip, upstream: Tensor) -> None:
        """Adds a strip's share, given the gradient of its distances (n, K, M)."""
        r, b, tokens, distances = strip
        x, y = self.grid.x[r][b, tokens], self.grid.y[b]
        of_x = self.of_rows[b].chunk(len(self.grid.x))[r][tokens]
        lost = self.grid.lost(r, b, tokens, distances)
        weights = upstream / distances
        if lost is not None:
            weights.masked_fill_(lost, 0)
        w = weights.flatten(1)
        torch.mul(x, w.sum(1, keepdim=True), out=of_x)
        torch.addmm(of_x, w, y, alpha=-1, out=of_x)
        self.of_columns[b].addmm_(w.T, x, alpha=-1)
        self.column_weights[b] += w.sum(0)
        if lost is not None:
            for k, (column, of_y) in enumerate(
                zip(self.grid.columns, self.of_columns[b].chunk(self.grid.K), strict=True)
            ):
                here = lost[None, :, k], upstream[None, :, k], distances[None, :, k]
                row = self.grid.rows[r][b, None, tokens]
                pull_by_differences(of_x[None], of_y[None], *here, row, column[b, None])

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Of the row tokens (B, R*N, C) and of the column tokens (B, K*M, C), after all strips."""
        self.of_columns.addcmul_(self.grid.y, self.column_weights.unsqueeze(2))
        return self.of_rows, self.of_columns
