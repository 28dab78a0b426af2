"""Small pictures for a page: maps over faces, matrices and their color scale, as data: addresses.

The colors are those of `qcs.visualize`; a page sets its own text and scales its pictures, so no figures are needed.
"""

from __future__ import annotations

import base64
import io
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from qcs.visualize.attention import LUMA, MAP_COLORS, OPACITY
from qcs.visualize.maps import upsample

Array = npt.NDArray[np.floating]

PHOTO_SIDE = 720  # pixels: longer side of a photo on the page


def over_face(face: Image.Image, values: Array, low: float, high: float) -> Image.Image:
    """A map laid over a grayed face.

    Args:
        face: The face, in color.
        values: The map (g, g).
        low: Value of the darkest color.
        high: Value of the brightest color.

    Returns:
        A picture of the face's size.

    Example:
        >>> over_face(Image.new("RGB", (48, 48)), np.eye(6), 0, 1).size
        (48, 48)
    """
    gray = np.asarray(face, dtype=np.float64)[..., :3] @ LUMA
    return _picture(_blended(upsample(values, (face.height, face.width)), low, high, gray))


def matrix(values: Array, low: float, high: float) -> Image.Image:
    """A matrix, a pixel an entry."""
    return _picture(_colored(values, low, high))


def scale(over_gray: bool) -> Image.Image:
    """All colors from low to high; as they look over a face of middle gray, if wanted."""
    line = np.linspace(0, 1, 128)[None]
    return _picture(_blended(line, 0, 1, np.full_like(line, 127.5)) if over_gray else _colored(line, 0, 1))


def photo(image: Image.Image) -> str:
    """A photograph or a map over one as a data: address, shrunk to what a page shows.

    Nothing is fetched from such an address, so nothing has to be stored.

    Example:
        >>> photo(Image.new("L", (1, 1)))[:23]
        'data:image/jpeg;base64,'
    """
    small = image.copy()
    small.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
    return _address(small, "JPEG", quality=88)


def chart(image: Image.Image) -> str:
    """A matrix or a scale as a data: address, every color as it is."""
    return _address(image, "PNG")


def _address(image: Image.Image, kind: str, **options: int) -> str:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def _colored(values: Array, low: float, high: float) -> Array:
    """Colors (h, w, 3), 0 to 255, of values (h, w)."""
    shares = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
    colors: Array = 255 * _color_map()(shares)[..., :3]
    return colors


def _blended(values: Array, low: float, high: float, gray: Array) -> Array:
    """The same over gray levels (h, w)."""
    blended: Array = OPACITY * _colored(values, low, high) + (1 - OPACITY) * gray[..., None]
    return blended


def _picture(colors: Array) -> Image.Image:
    return Image.fromarray(colors.round().clip(0, 255).astype(np.uint8))


@cache
def _color_map() -> Any:
    from matplotlib import colormaps

    return colormaps[MAP_COLORS]
