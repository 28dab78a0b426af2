"""Align faces to a crop template by their five landmarks.

A network works best on faces cropped as in its training data, so there are several templates:

* `"fer2013"`: the landmarks as in FER2013 and FERPlus, the median over 2,328 training images with a detected face,
  made symmetric.
* `"arcface"`: the template of face recognition networks (InsightFace, 112 pixels).
* `"loose"`: the arcface template with 1.5 times its width and height about the same center, so that forehead and chin
  are visible; used for ExpW and others in cross-dataset comparisons of expression networks.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from qcs.data.images import ImageLike, as_image
from qcs.errors import InputError, check_choice
from qcs.faces.face import Face
from qcs.faces.faces import Faces

Points = npt.NDArray[np.floating[Any]]

SIDE = 112  # pixels: side of the frame in which the templates are defined

ARCFACE = np.array([(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)])
MIDDLE = (SIDE - 1) / 2

CROPS: dict[str, Points] = {
    "fer2013": np.array([(34.71, 42.93), (76.29, 42.93), (55.5, 66.77), (38.62, 86.42), (72.38, 86.42)]),
    "arcface": ARCFACE,
    "loose": (ARCFACE - MIDDLE) / 1.5 + MIDDLE,
}
"""Positions of the five landmarks in each crop, in pixels of a 112x112 frame."""

DEFAULT = "fer2013"

MOST_WIDTHS = 20  # limit of the frame in widths of the landmarks: a face has about 3, flipped landmarks many more


def template(crop: str = DEFAULT, size: int = SIDE) -> Points:
    """Return the positions of the landmarks in an aligned face.

    Args:
        crop: `"fer2013"`, `"arcface"` or `"loose"`, see the module.
        size: Side of the aligned face in pixels.

    Returns:
        Positions (5, 2) in pixels, in the order of `Face.landmarks`; whole numbers are centers of
        pixels.

    Raises:
        InputError: If the crop is unknown or `size` is less than 1.

    Example:
        >>> template("arcface")[2].tolist()
        [56.0252, 71.7366]
    """
    check_choice("crop", crop, CROPS)
    if size < 1:
        raise InputError(f"size is {size}; expected a number of pixels, at least 1")
    # Scale about the center of the frame, so that a face of another size shows exactly the same part.
    return (CROPS[crop] - MIDDLE) * (size / SIDE) + (size - 1) / 2


def similarity(source: npt.ArrayLike, target: npt.ArrayLike) -> Points:
    """Return the similarity transform (rotation, uniform scale, translation) with the least squared distances.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", IEEE TPAMI 13 (1991).
    In the plane its singular value decomposition has a closed form, used here, which excludes reflections.

    Args:
        source: Points (n, 2), at least two distinct.
        target: Points (n, 2), at least two distinct.

    Returns:
        A matrix (2, 3): `matrix[:, :2] @ point + matrix[:, 2]` transforms a point of the source.

    Raises:
        InputError: If the points have another shape, are not finite, or are all equal.

    Example:
        >>> similarity([(0, 0), (1, 0)], [(5, 5), (5, 7)]).tolist()  # a quarter turn, twice the size
        [[0.0, -2.0, 5.0], [2.0, 0.0, 5.0]]
    """
    a, b = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError(f"points have shapes {a.shape} and {b.shape}; expected equal shapes (n, 2) of finite values")
    center_a, center_b = a.mean(0), b.mean(0)
    a, b = a - center_a, b - center_b
    spread = (a**2).sum()
    if not spread or not (b**2).any():
        raise InputError("all points are equal; expected at least two distinct points")
    along = (a * b).sum() / spread
    across = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / spread
    turn = np.array([[along, -across], [across, along]])
    return np.column_stack([turn, center_b - turn @ center_a])


def align(image: ImageLike, face: Face, size: int = SIDE, crop: str = DEFAULT) -> Image.Image:
    """Crop a face from an image, upright, with its landmarks at fixed positions.

    Args:
        image: The image, in any form that `qcs.data.as_image` takes.
        face: A face in the image.
        size: Side of the result in pixels.
        crop: Crop template, see `template`.

    Returns:
        The aligned face (size, size), grayscale if the image is; black beyond the border of the image.

    Raises:
        InputError: If the crop is unknown, the size is less than 1, or there are no landmarks or not those of a face.

    Example:
        >>> eyes_nose_mouth = ((80, 90), (120, 90), (100, 110), (85, 130), (115, 130))
        >>> face = Face((60, 60, 140, 150), eyes_nose_mouth, 1.0)
        >>> align(Image.new("RGB", (200, 200)), face, crop="arcface").size
        (112, 112)
    """
    if face.landmarks is None:
        raise InputError("the face has no landmarks to align it by; expected five, as a detector gives them")
    matrix = similarity(face.landmarks, template(crop, size))
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    if size > MOST_WIDTHS * scale * np.ptp(face.landmarks, axis=0).max():
        raise InputError(f"the landmarks {face.landmarks} are not those of a face; see LANDMARKS for their order")
    back = np.linalg.inv(matrix[:, :2])
    # Pillow counts from the edge of a pixel, this module from its center.
    corner = back @ (-0.5 - matrix[:, 2]) + 0.5
    image = as_image(image)
    part, origin = _around(image, corner, size * back)
    # A pixel of the result may cover several pixels of the image: average enough samples per side to use all of them.
    samples = max(1, math.ceil(1 / scale))
    (a, b), (c, d) = (back / samples).tolist()
    x, y = (corner - origin).tolist()
    bands = [
        # In floating point, because Pillow truncates integers, by half a gray level on average.
        band.convert("F")
        .transform((size * samples,) * 2, Image.Transform.AFFINE, (a, b, x, c, d, y), Image.Resampling.BICUBIC)
        .reduce(samples)
        for band in part.split()
    ]
    pixels = np.stack([np.asarray(band) for band in bands], -1).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels.squeeze(-1) if image.mode == "L" else pixels)


def cut_out(image: Image.Image, faces: Faces, side: int, crop: str) -> tuple[Faces, list[Image.Image]]:
    """Return the faces that can be aligned and their crops.

    Faces with impossible landmarks or values that are not finite are left out.
    """
    kept, crops = [], []
    for at, face in enumerate(faces):
        if not all(map(math.isfinite, (*(face.box or ()), face.score or 0.0))):
            continue
        with contextlib.suppress(InputError):
            crops.append(align(image, face, side, crop))
            kept.append(at)
    return faces[kept], crops


def _around(image: Image.Image, corner: Points, sides: Points) -> tuple[Image.Image, Points]:
    """Return the part of an image around a tilted square, black beyond the border, and its origin in the image.

    The square is given by its first corner and its two sides, the columns of a matrix.
    """
    corners = np.stack([corner, corner + sides[:, 0], corner + sides[:, 1], corner + sides.sum(1)])
    margin = 2  # pixels that the interpolation reads beyond
    origin, end = np.floor(corners.min(0)) - margin, np.ceil(corners.max(0)) + margin
    left, top, right, bottom = (int(edge) for edge in (*origin, *end))
    return image.crop((left, top, right, bottom)), origin
