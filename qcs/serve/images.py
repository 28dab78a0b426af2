"""Draw the images of the page: maps over faces, matrices and color scales, in the colors of `qcs.visualize`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from qcs.faces.image_file import data_url
from qcs.visualize.attention import LUMA, MAP_COLORS, OPACITY
from qcs.visualize.maps import upsample

Array = npt.NDArray[np.floating]

PHOTO_SIDE = 720  # pixels: longer side of a photo on the page


def overlay(face: Image.Image, values: Array, low: float, high: float) -> Image.Image:
    """Draw a map over a face in grayscale.

    Args:
        face: The face (RGB).
        values: The map (g, g).
        low: Value of the darkest color.
        high: Value of the brightest color.

    Returns:
        An image of the size of the face.

    Example:
        >>> overlay(Image.new("RGB", (48, 48)), np.eye(6), 0, 1).size
        (48, 48)
    """
    gray = np.asarray(face, dtype=np.float64)[..., :3] @ LUMA
    return _picture(_blended(upsample(values, (face.height, face.width)), low, high, gray))


def matrix_image(values: Array, low: float, high: float) -> Image.Image:
    """Draw a matrix with one pixel per entry."""
    return _picture(_colored(values, low, high))


def color_scale(over_gray: bool) -> Image.Image:
    """Draw all colors from low to high, optionally as they appear over a gray face."""
    line = np.linspace(0, 1, 128)[None]
    return _picture(_blended(line, 0, 1, np.full_like(line, 127.5)) if over_gray else _colored(line, 0, 1))


def photo_url(image: Image.Image) -> str:
    """Return a photo or an overlay as a data URL, shrunk for the page.

    Example:
        >>> photo_url(Image.new("L", (1, 1)))[:23]
        'data:image/jpeg;base64,'
    """
    small = image.copy()
    small.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
    return data_url(small, "JPEG", quality=88)


def chart_url(image: Image.Image) -> str:
    """Return a matrix or a color scale as a data URL, without loss."""
    return data_url(image, "PNG")


def _colored(values: Array, low: float, high: float) -> Array:
    """Map values (h, w) to colors (h, w, 3), 0 to 255."""
    relative = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
    colors: Array = 255 * _color_map()(relative)[..., :3]
    return colors


def _blended(values: Array, low: float, high: float, gray: Array) -> Array:
    """Blend the colors of values with gray levels (h, w)."""
    blended: Array = OPACITY * _colored(values, low, high) + (1 - OPACITY) * gray[..., None]
    return blended


def _picture(colors: Array) -> Image.Image:
    return Image.fromarray(colors.round().clip(0, 255).astype(np.uint8))


@cache
def _color_map() -> Any:
    from matplotlib import colormaps

    return colormaps[MAP_COLORS]
