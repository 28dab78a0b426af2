"""Detect faces, align and crop them, also in whole folders, and annotate pictures.

Face detection and reading videos need the extra: `pip install 'qcs[faces]'`. The rest works without it.
"""

from __future__ import annotations

from functools import cache

from PIL import Image

from qcs.faces.alignment import CROPS as CROPS
from qcs.faces.alignment import align as align
from qcs.faces.alignment import similarity as similarity
from qcs.faces.alignment import template as template
from qcs.faces.annotation import annotate as annotate
from qcs.faces.face import LANDMARKS as LANDMARKS
from qcs.faces.face import Face as Face
from qcs.faces.face import FaceDetector as FaceDetector
from qcs.faces.folder import align_folder as align_folder
from qcs.faces.media import Picture as Picture
from qcs.faces.media import pictures as pictures
from qcs.faces.mtcnn import MTCNN as MTCNN


def detect(image: Image.Image, min_face: int | None = None) -> list[Face]:
    """Detect the faces in an image with MTCNN.

    Args:
        image: The image, in any mode.
        min_face: Side in pixels of the smallest face to detect, as for `MTCNN`.

    Returns:
        The faces, largest first; empty if there are none.

    Raises:
        InputError: If the packages of the extra are missing, or `min_face` is less than 12.

    Example:
        >>> detect(Image.new("RGB", (100, 100)))
        []
    """
    return _detector(min_face)(image)


@cache
def _detector(min_face: int | None) -> MTCNN:
    return MTCNN(min_face)
