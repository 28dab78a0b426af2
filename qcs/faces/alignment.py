"""Faces brought to one place and size, from their five landmarks.

What a network has learned holds for faces cropped like those it has seen, so the crop is a choice:

* `"fer2013"` puts the landmarks where the images of FER2013, and so of FERPlus, have them in the middle: the median
  over 2,328 of its training images in which a face was found, made symmetric.
* `"arcface"` puts them on the template that face recognition networks are trained with (InsightFace, 112 pixels).
* `"loose"` shows half as much again as that in width and height about the same center, with forehead and chin; ExpW and
  others were aligned like this for comparisons of expression networks over datasets.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from qcs.errors import InputError
from qcs.faces.face import Face

Points = npt.NDArray[np.floating[Any]]

SIDE = 112  # of the frame that the templates are given in, in pixels

ARCFACE = np.array([(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)])
MIDDLE = (SIDE - 1) / 2

CROPS: dict[str, Points] = {
    "fer2013": np.array([(34.71, 42.93), (76.29, 42.93), (55.5, 66.77), (38.62, 86.42), (72.38, 86.42)]),
    "arcface": ARCFACE,
    "loose": (ARCFACE - MIDDLE) / 1.5 + MIDDLE,
}
"""Where the five landmarks lie in each crop, in pixels of a frame of 112."""

DEFAULT = "fer2013"

MOST_WIDTHS = 20  # of the landmarks in the frame: a face has about 3, mirrored landmarks have no limit


def template(crop: str = DEFAULT, size: int = SIDE) -> Points:
    """Where the landmarks lie in an aligned face.

    Args:
        crop: `"fer2013"`, `"arcface"` or `"loose"`, see above.
        size: Side of the aligned face in pixels.

    Returns:
        Positions (5, 2) in pixels, in the order of `Face.landmarks`; a whole number is the center of a pixel.

    Raises:
        InputError: If there is no such crop, or `size` is no positive number.

    Example:
        >>> template("arcface")[2].tolist()
        [56.0252, 71.7366]
    """
    if crop not in CROPS:
        raise InputError(f"unknown crop {crop!r}; expected one of {', '.join(CROPS)}")
    if size < 1:
        raise InputError(f"size is {size}; expected a number of pixels, at least 1")
    # Scaled about the frame's center, between pixels; so a face of another size shows exactly the same.
    return (CROPS[crop] - MIDDLE) * (size / SIDE) + (size - 1) / 2


def similarity(source: npt.ArrayLike, target: npt.ArrayLike) -> Points:
    """The rotation, uniform scale and shift that bring points closest to others, by the sum of squared distances.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", IEEE TPAMI 13 (1991);
    in the plane its singular value decomposition has the closed form below, which admits no reflection.

    Args:
        source: Points (n, 2), at least two different ones.
        target: As many points (n, 2), at least two different ones.

    Returns:
        A matrix (2, 3): `matrix[:, :2] @ point + matrix[:, 2]` is where a point of the source goes.

    Raises:
        InputError: If the points are not of that shape, not finite, or all the same.

    Example:
        >>> similarity([(0, 0), (1, 0)], [(5, 5), (5, 7)]).tolist()  # a quarter turn, twice the size
        [[0.0, -2.0, 5.0], [2.0, 0.0, 5.0]]
    """
    a, b = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError(f"points of shapes {a.shape} and {b.shape}; expected as many of both, (n, 2), all finite")
    center_a, center_b = a.mean(0), b.mean(0)
    a, b = a - center_a, b - center_b
    spread = (a**2).sum()
    if not spread or not (b**2).any():
        raise InputError("the points are all the same; at least two different ones are needed to align by")
    along = (a * b).sum() / spread
    across = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / spread
    turn = np.array([[along, -across], [across, along]])
    return np.column_stack([turn, center_b - turn @ center_a])


def align(image: Image.Image, face: Face, size: int = SIDE, crop: str = DEFAULT) -> Image.Image:
    """Cuts a face out of its picture, upright and at a fixed place and size.

    Args:
        image: The picture.
        face: A face found in it.
        size: Side of the result in pixels.
        crop: Where in the frame the landmarks go, see `template`.

    Returns:
        The aligned face (size, size), gray if the picture is gray; what lies beyond the picture's border is black.

    Raises:
        InputError: If the crop is unknown, the size is not positive or the landmarks lie unlike those of a face.

    Example:
        >>> eyes_nose_mouth = ((80, 90), (120, 90), (100, 110), (85, 130), (115, 130))
        >>> face = Face((60, 60, 140, 150), eyes_nose_mouth, 1.0)
        >>> align(Image.new("RGB", (200, 200)), face, crop="arcface").size
        (112, 112)
    """
    matrix = similarity(face.landmarks, template(crop, size))
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    if size > MOST_WIDTHS * scale * np.ptp(face.landmarks, axis=0).max():
        raise InputError(f"the landmarks {face.landmarks} lie unlike those of a face; see LANDMARKS for their order")
    back = np.linalg.inv(matrix[:, :2])
    # Pillow counts from the edge of a pixel, not from its center.
    corner = back @ (-0.5 - matrix[:, 2]) + 0.5
    part, origin = _around(image if image.mode == "L" else image.convert("RGB"), corner, size * back)
    # Where a pixel of the result covers several of the picture, so many samples per side are averaged that none of the
    # picture's is passed over.
    samples = max(1, math.ceil(1 / scale))
    (a, b), (c, d) = (back / samples).tolist()
    x, y = (corner - origin).tolist()
    bands = [
        # In floating point: Pillow would cut off whole numbers, half a gray level on average.
        band.convert("F")
        .transform((size * samples,) * 2, Image.Transform.AFFINE, (a, b, x, c, d, y), Image.Resampling.BICUBIC)
        .reduce(samples)
        for band in part.split()
    ]
    pixels = np.stack([np.asarray(band) for band in bands], -1).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels.squeeze(-1) if image.mode == "L" else pixels)


def _around(image: Image.Image, corner: Points, sides: Points) -> tuple[Image.Image, Points]:
    """The part of a picture that a tilted square touches, with black beyond the border, and its place in the picture.

    The square is given by its first corner and its two sides, the columns of a matrix.
    """
    corners = np.stack([corner, corner + sides[:, 0], corner + sides[:, 1], corner + sides.sum(1)])
    margin = 2  # pixels that interpolation looks beyond
    origin, end = np.floor(corners.min(0)) - margin, np.ceil(corners.max(0)) + margin
    left, top, right, bottom = (int(edge) for edge in (*origin, *end))
    return image.crop((left, top, right, bottom)), origin
