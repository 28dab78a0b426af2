"""The distances of a grid of images from products, strip by strip, exact where a product is not.

|x - y|² = |x|² + |y|² - 2 x·y turns distances into a matrix product, several times faster than forming differences,
but it cancels when tokens are close relative to their norms. Subtracting one vector from all tokens changes no distance
and removes most of the cancellation; the entries that still cancel are computed from differences.

A grid of R row images (B, N, C) and K column images (B, M, C) has the matrices (B, R, N, K, M). A strip of it stays in
the cache while it is processed: all matrices of some samples, or some rows of one row image of one sample. Sums over
its rows are complete for the former only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qcs.ops._numerics import CANCELLATION
from qcs.ops.analytic import differences
from qcs.ops.analytic.closed_form import signs
from qcs.ops.precision import is_capturing

CENTER_STRIDE = 8  # every eighth token is enough to estimate the mean
STRIP_ELEMENTS = 400_000  # distances that stay in the cache of a core
STRIP_ELEMENTS_ON_DEVICES = 1 << 25
_TOKEN_ELEMENTS = 900_000  # centered tokens of this many elements stay in the cache between their uses


class Strip(NamedTuple):
    """Signed distances (b, R, n, K, M) of some samples, row images and row tokens: similarity has negative sign."""

    samples: slice
    images: slice
    tokens: slice
    signed: Tensor

    @property
    def rows(self) -> tuple[slice, ...]:
        """Index of its rows in a tensor (B, R, N, ...)."""
        return self.samples, self.images, self.tokens

    @property
    def columns(self) -> tuple[slice, ...]:
        """Index of sums over its rows in a tensor (B, R, ...)."""
        return self.samples, self.images

    @property
    def place(self) -> tuple[Any, ...]:
        return self.samples.start, self.images.start, self.tokens.start

    @property
    def is_first(self) -> bool:
        """Whether it has the first rows of its samples."""
        return self.images.start == self.tokens.start == 0


class Centered(NamedTuple):
    """Tokens of a grid minus one vector per sample, and their squared norms: what forward and backward share."""

    x: Tensor  # all row tokens (B, R*N, C)
    y: Tensor  # all column tokens (B, K*M, C)
    x_norms: Tensor  # (B, R*N)
    y_norms: Tensor  # (B, K*M)

    def bounds(self) -> Tensor:
        """Return a bound (B) on |x|² + |y|², of which errors of the product form are a few roundings."""
        return self.x_norms.amax(1) + self.y_norms.amax(1)


class Grid:
    """R row images (B, N, C) against K column images (B, M, C).

    The first pass writes the signed distances to `kept` (B, R, N, K, M), later passes read them; if `kept` is empty,
    every pass computes them. The first pass also writes `tokens`, and whether products canceled anywhere.
    """

    def __init__(
        self,
        rows: Sequence[Tensor],
        columns: Sequence[Tensor],
        kinds: str,
        tokens: Centered,
        kept: Tensor,
        any_canceled: Tensor,
    ) -> None:
        self.rows, self.columns, self.tokens, self.kept, self.any_canceled = rows, columns, tokens, kept, any_canceled
        self.R, self.K = len(rows), len(columns)
        (self.B, self.N), self.M = rows[0].shape[:2], columns[0].shape[1]
        self.signs = signs(kinds, tokens.x)[:, None, :, None]  # (R, 1, K, 1)
        self._are_plain = kinds == "d"
        self._capturing = is_capturing(tokens.x.device)
        self._on_cpu = rows[0].device.type == "cpu"
        self._limit = STRIP_ELEMENTS if self._on_cpu else STRIP_ELEMENTS_ON_DEVICES
        self._per_row = self.K * self.M
        self._per_sample = self.R * self.N * self._per_row
        self.is_one_strip = self.B * self._per_sample <= self._limit
        self._scratch: Tensor | None = None

    def first_pass(self) -> Iterator[Strip]:
        """Yield all strips: center their tokens, compute their distances, keep them if there is memory."""
        self.any_canceled.fill_(False)
        for samples, images, tokens in self._places(with_tokens=True):
            if images.start == tokens.start == 0:
                self._center(samples)
            yield Strip(samples, images, tokens, self._signed(samples, images, tokens, is_first_pass=True))

    def strips(self, with_tokens: bool = False) -> Iterator[Strip]:
        """Yield all strips after the first pass.

        Args:
            with_tokens: Make strips so small that their tokens stay in the cache as well.
        """
        if not self.kept.numel():
            for place in self._places(with_tokens=True):
                yield Strip(*place, self._signed(*place, is_first_pass=False))
            return
        for place in self._places(with_tokens):
            yield Strip(*place, self.kept[place])

    def canceled(self, strip: Strip) -> Tensor | None:
        """Return where the product form canceled (b, n, m), or None; NaN, from a square below 0, is cancellation."""
        if not self._capturing and not self.any_canceled:
            return None
        x_norms, y_norms = self.rows_of(self.tokens.x_norms, strip.rows), self.tokens.y_norms[strip.samples]
        bounds = x_norms.unsqueeze(2) + y_norms.unsqueeze(1)
        canceled = ~(self.matrix(strip.signed).square() > CANCELLATION * bounds)
        return canceled if self._capturing or canceled.any() else None

    def images(self, strip: Strip) -> tuple[list[Tensor], list[Tensor]]:
        """Return the tokens of a strip and of the column images, not centered."""
        rows = [row[strip.samples, strip.tokens] for row in self.rows[strip.images]]
        return rows, [column[strip.samples] for column in self.columns]

    def x_of(self, strip: Strip) -> Tensor:
        """Return the centered tokens (b, n, C) of the rows of a strip."""
        return self.rows_of(self.tokens.x, strip.rows)

    def _places(self, with_tokens: bool) -> Iterator[tuple[slice, slice, slice]]:
        """Yield samples, row images and row tokens of each strip."""
        if self._per_sample > self._limit:
            length = max(1, self._limit // self._per_row)
            for b in range(self.B):
                for r in range(self.R):
                    for start in range(0, self.N, length):
                        yield slice(b, b + 1), slice(r, r + 1), slice(start, min(start + length, self.N))
            return
        samples = self._limit // self._per_sample
        if with_tokens and self._on_cpu:
            tokens = (self.R * self.N + self._per_row) * self.rows[0].shape[2]
            samples = max(1, min(samples, _TOKEN_ELEMENTS // tokens))
        for b in range(0, self.B, samples):
            yield slice(b, min(b + samples, self.B)), slice(0, self.R), slice(0, self.N)

    def _center(self, samples: slice) -> None:
        """Write the centered tokens and squared norms of some samples."""
        x, y, x_norms, y_norms = (t[samples] for t in self.tokens)
        center = self.columns[0][samples, ::CENTER_STRIDE].mean(1, keepdim=True, dtype=x.dtype)
        for images, places in ((self.rows, x.chunk(self.R, 1)), (self.columns, y.chunk(self.K, 1))):
            for image, place in zip(images, places, strict=True):
                torch.sub(image[samples], center, out=place)
        torch.linalg.vector_norm(x, dim=-1, out=x_norms).square_()
        torch.linalg.vector_norm(y, dim=-1, out=y_norms).square_()

    def _signed(self, samples: slice, images: slice, tokens: slice, is_first_pass: bool) -> Tensor:
        """Compute the signed distances of a strip, in `kept` or in memory that the next strip overwrites."""
        place = samples, images, tokens
        x, x_norms = self.rows_of(self.tokens.x, place), self.rows_of(self.tokens.x_norms, place)
        y, y_norms = self.tokens.y[samples], self.tokens.y_norms[samples]
        signed = self.kept[place] if self.kept.numel() else self._memory(samples, images, tokens)
        distances = self.matrix(signed)
        torch.add(x_norms.unsqueeze(2), y_norms.unsqueeze(1), out=distances)
        torch.baddbmm(distances, x, y.mT, alpha=-2, out=distances).sqrt_()
        if self._capturing:
            self._replace_canceled(Strip(*place, signed))
        elif is_first_pass or self.any_canceled:
            bounds = x_norms.amax(1) + y_norms.amax(1)
            # May report cancellation where there is none, never the reverse; NaN is cancellation.
            if not (distances.amin((1, 2)).square() > CANCELLATION * bounds).all():
                self._replace_canceled(Strip(*place, signed))
        if not self._are_plain:
            signed.mul_(self.signs[images])
        return signed

    def _replace_canceled(self, strip: Strip) -> None:
        """Recompute the canceled distances of a strip, which have no sign yet, from differences."""
        before = self.any_canceled.clone()
        self.any_canceled.fill_(True)
        canceled = self.canceled(strip)
        if canceled is None:
            self.any_canceled.copy_(before)
        else:
            differences.replace(self.matrix(strip.signed), canceled, *self.images(strip))

    def _memory(self, samples: slice, images: slice, tokens: slice) -> Tensor:
        shape = [part.stop - part.start for part in (samples, images, tokens)]
        size = shape[0] * shape[1] * shape[2] * self.K * self.M
        if self._scratch is None or self._scratch.numel() < size:
            self._scratch = self.tokens.x.new_empty(size)
        return self._scratch[:size].view(*shape, self.K, self.M)

    def matrix(self, strip: Tensor) -> Tensor:
        """Return a strip (b, R, n, K, M) as (b, R*n, K*M), a view."""
        b, r, n, k, m = strip.shape
        return strip.view(b, r * n, k * m)

    def rows_of(self, vectors: Tensor, place: tuple[slice, ...]) -> Tensor:
        """Return the rows of a strip from a tensor (B, R*N, ...), a view."""
        samples, images, tokens = place
        if tokens.stop - tokens.start == self.N:
            return vectors[samples, images.start * self.N : images.stop * self.N]
        return vectors[samples, images.start * self.N + tokens.start : images.start * self.N + tokens.stop]


class TokenGradients:
    """Gradients of the tokens of a grid, from the gradients of its signed distances, strip by strip.

    With W = gradient / distance, 0 where tokens are equal, the gradient of row i is Σⱼ Wᵢⱼ (xᵢ - yⱼ). Signs cancel.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.rows, self.columns = torch.empty_like(grid.tokens.x), torch.empty_like(grid.tokens.y)
        self._column_sums = torch.empty_like(grid.tokens.y_norms)

    def add(self, strip: Strip, grad_signed: Tensor) -> None:
        """Add a strip's terms, given the gradient of its signed distances (b, R, n, K, M), which is overwritten."""
        grid, matrix = self.grid, self.grid.matrix
        x, y = grid.x_of(strip), grid.tokens.y[strip.samples]
        grad_x = grid.rows_of(self.rows, strip.rows)
        grad_y, column_sums = self.columns[strip.samples], self._column_sums[strip.samples]
        canceled = grid.canceled(strip)
        if canceled is None:
            w = matrix(grad_signed).div_(matrix(strip.signed))
        else:
            w = (matrix(grad_signed) / matrix(strip.signed)).masked_fill_(canceled, 0)
        torch.mul(x, w.sum(2).unsqueeze(2), out=grad_x)
        torch.baddbmm(grad_x, w, y, alpha=-1, out=grad_x)
        if strip.is_first:
            torch.sum(w, 1, out=column_sums)
            torch.mul(y, column_sums.unsqueeze(2), out=grad_y)
        else:
            grad_y.addcmul_(y, w.sum(1).unsqueeze(2))
        torch.baddbmm(grad_y, w.mT, x, alpha=-1, out=grad_y)
        if canceled is not None:
            entries = canceled, matrix(grad_signed), matrix(strip.signed)
            differences.add_gradients(grad_x, grad_y, *entries, *grid.images(strip))
