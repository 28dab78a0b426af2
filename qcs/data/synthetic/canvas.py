"""Paint analytic, anti-aliased shapes on a batch of images.

All arrays are batch first: a number per face is (B, 1, 1), a color (B, 3, 1), a number per pixel (B, 1, P).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]


class Canvas:
    """Color and light of B images, combined at the end so that all layers share the light.

    Args:
        color: Background (B, 3, P), 0 to 1.
        edge: Width of the transition at an outline (B, 1, 1), in face units.
    """

    def __init__(self, color: Array, edge: Array) -> None:
        self.color = color
        self.light: Array = np.ones_like(color[:, :1])
        self._edge = edge

    def coverage(self, distance: Array) -> Array:
        """Return the fraction of each pixel inside a shape, given its signed distance (negative inside)."""
        return np.clip(0.5 - distance / self._edge, 0, 1)

    def paint(self, color: Array, coverage: Array) -> None:
        """Blend `color` into the images by `coverage`."""
        change = color - self.color
        change *= coverage
        self.color += change

    def cover(self, color: Array, coverage: Array) -> None:
        """Paint an opaque object, which also hides the shading behind it."""
        self.paint(color, coverage)
        self.light += coverage * (1 - self.light)

    def shade(self, amount: Array) -> None:
        """Remove the fraction `amount` of the light; a negative amount adds light."""
        self.light *= 1 - amount


def bump(x: Array, y: Array) -> Array:
    """Return a smooth bump: one at the origin, zero from radius one on (a fast alternative to a Gaussian)."""
    return np.square(np.maximum(1 - x * x - y * y, 0))


def ellipse(x: Array, y: Array, radius_x: Array | float, radius_y: Array | float) -> Array:
    """Return the signed distance to an ellipse around the origin: first order, exact on the outline."""
    u, v = x / radius_x, y / radius_y
    square = u * u + v * v
    slope = np.sqrt(np.square(u / radius_x) + np.square(v / radius_y)) + 1e-6  # no division by zero at the center
    return 0.5 * (square - 1) / slope


def rounded_box(x: Array, y: Array, half_x: Array, half_y: Array, radius: Array | float) -> Array:
    """Return the signed distance to a box around the origin with corners of radius `radius`."""
    u, v = np.abs(x) - half_x + radius, np.abs(y) - half_y + radius
    return np.hypot(np.maximum(u, 0), np.maximum(v, 0)) + np.minimum(np.maximum(u, v), 0) - radius


def between(value: Array, low: Array, high: Array) -> Array:
    """Return the signed distance to the band from `low` to `high` along the axis of `value`."""
    return np.maximum(low - value, value - high)
