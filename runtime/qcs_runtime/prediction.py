"""Find the faces in pictures and predict the expression of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from qcs.data.images import ImageLike
from qcs.errors import InputError
from qcs.faces.alignment import cut_out
from qcs.faces.faces import Faces
from qcs.faces.mtcnn import MTCNN
from qcs.faces.picture import Picture, as_picture
from qcs_runtime.classifier import Classifier


def predict(
    pictures: Picture | ImageLike | Sequence[ImageLike],
    *,
    precision: str = "fp32",
    channels: str = "rgb",
    detect: bool = True,
    min_face: int | None = None,
) -> Any:  # a union would have to be narrowed before every use
    """Find the faces in a picture and predict the expression of each.

    Args:
        pictures: A picture: the path or the bytes of an image file, an image of Pillow, an array (H, W) or
            (H, W, C), or a `Picture`; or a list of these.
        precision: Precision of the network, see `Classifier`.
        channels: Order of the channels of arrays: `"rgb"`, or `"bgr"` for a frame of OpenCV.
        detect: Whether to detect faces; False takes each picture as one cropped face.
        min_face: Side of the smallest face to detect, in pixels, at least 12; None is 1/40 of the shorter side of the
            picture, at least 20.

    Returns:
        The `Faces` of the picture, the largest first; or a list of them, in order. A picture of a list that cannot be
        read has no faces, and `error` says why.

    Raises:
        InputError: If a single picture cannot be read, or an argument is not valid.

    Example:
        >>> faces = predict(Image.new("L", (48, 48)), detect=False)
        >>> len(faces), len(faces[0].probabilities)
        (1, 8)
    """
    classifier = loaded_classifier(precision)
    detector = _detector(min_face) if detect else None
    if isinstance(pictures, (Picture, str, os.PathLike, bytes, Image.Image, np.ndarray)):
        return _predicted(classifier, detector, as_picture(pictures, 1, channels))
    if not isinstance(pictures, Sequence):
        raise InputError(
            f"got {type(pictures).__name__}; expected a path, an image of Pillow, an array, the bytes of an image "
            "file, or a list of these"
        )
    found: list[Faces] = []
    items: Sequence[Any] = pictures
    for number, item in enumerate(items, 1):
        on_disk = isinstance(item, (str, os.PathLike))
        try:
            faces = _predicted(classifier, detector, as_picture(item, number, channels))
        except InputError as error:
            name = os.fspath(item) if isinstance(item, (str, os.PathLike)) else f"picture {number}"
            found.append(Faces(picture=Picture(name, None, Path(name)), error=str(error)))
            continue
        found.append(faces.without_pixels() if on_disk else faces)  # so that any number fits in memory
    return found


def _predicted(classifier: Classifier, detector: MTCNN | None, picture: Picture) -> Faces:
    if detector is None:
        probabilities = classifier([picture.image])
        return Faces(probabilities=probabilities, classes=classifier.classes, picture=picture)
    found, crops = cut_out(picture.image, detector(picture.image), classifier.side, classifier.crop)
    return replace(found, probabilities=classifier(crops), classes=classifier.classes, picture=picture)


@cache  # so that calls in a loop do not read the files again
def loaded_classifier(precision: str) -> Classifier:
    """Return the classifier of a precision, which stays in memory."""
    return Classifier(precision)


@cache
def _detector(min_face: int | None) -> MTCNN:
    return MTCNN(min_face)
