"""A batch of pictures to paint on with analytic, anti-aliased shapes.

Everything broadcasts batch first: a number per face is (B, 1, 1), a color (B, 3, 1), a number per pixel (B, 1, P).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]


class Canvas:
    """Color and light of B pictures, kept apart until the end so that every layer is lit alike.

    Args:
        color: (B, 3, P), the background, 0 to 1.
        edge: (B, 1, 1), width over which an outline fades from full to none, in face units.
    """

    def __init__(self, color: Array, edge: Array) -> None:
        self.color = color
        self.light: Array = np.ones_like(color[:, :1])
        self._edge = edge

    def coverage(self, distance: Array) -> Array:
        """How much of each pixel lies inside a shape, given its signed distance (negative inside)."""
        return np.clip(0.5 - distance / self._edge, 0, 1)

    def paint(self, color: Array, coverage: Array) -> None:
        """Lays `color` over the pictures where `coverage` is one."""
        change = color - self.color
        change *= coverage
        self.color += change

    def cover(self, color: Array, coverage: Array) -> None:
        """Paints something solid, which hides the light and shade that fell on what is behind it."""
        self.paint(color, coverage)
        self.light += coverage * (1 - self.light)

    def shade(self, amount: Array) -> None:
        """Takes the share `amount` of the light away; a negative amount adds light."""
        self.light *= 1 - amount


def bump(x: Array, y: Array) -> Array:
    """Smooth hill: one at the origin, zero from radius one on (a cheap stand-in for a Gaussian)."""
    return np.square(np.maximum(1 - x * x - y * y, 0))


def ellipse(x: Array, y: Array, radius_x: Array | float, radius_y: Array | float) -> Array:
    """Signed distance to an ellipse about the origin: first order, exact on the outline."""
    u, v = x / radius_x, y / radius_y
    square = u * u + v * v
    slope = np.sqrt(np.square(u / radius_x) + np.square(v / radius_y)) + 1e-6  # no division by zero at the center
    return 0.5 * (square - 1) / slope


def rounded_box(x: Array, y: Array, half_x: Array, half_y: Array, radius: Array | float) -> Array:
    """Signed distance to a box about the origin whose corners are rounded by `radius`."""
    u, v = np.abs(x) - half_x + radius, np.abs(y) - half_y + radius
    return np.hypot(np.maximum(u, 0), np.maximum(v, 0)) + np.minimum(np.maximum(u, v), 0) - radius


def between(value: Array, low: Array, high: Array) -> Array:
    """Signed distance to the band from `low` to `high`, along the axis of `value`."""
    return np.maximum(low - value, value - high)
