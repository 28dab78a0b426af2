"""Define a detected face and the interface of face detectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from qcs.errors import InputError

LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
"""Names of the five landmarks of a face, in order."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Face:
    """A face in an image.

    Coordinates are in pixels of the image, x to the right and y down; whole numbers are centers of pixels. Left and
    right are those of the image, not of the person.

    Attributes:
        box: Left, top, right and bottom edge.
        landmarks: Center of the left eye, center of the right eye, tip of the nose, left and right corner of the mouth.
        score: The detector's confidence, 0 to 1.

    Example:
        >>> face = Face((0, 0, 40, 50), ((10, 20), (30, 20), (20, 30), (12, 40), (28, 40)), 0.99)
        >>> face.area, face.to_dict()["landmarks"]["nose"]
        (2000, [20, 30])
    """

    box: tuple[float, float, float, float]
    landmarks: tuple[Point, Point, Point, Point, Point]
    score: float

    def __post_init__(self) -> None:
        if len(self.landmarks) != len(LANDMARKS):
            raise InputError(f"a face has {len(self.landmarks)} landmarks; expected {', '.join(LANDMARKS)}")

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)

    def to_dict(self) -> dict[str, Any]:
        """Return box, score and landmarks for JSON, rounded to 0.01 pixels."""
        places = [[round(x, 2), round(y, 2)] for x, y in self.landmarks]
        return {
            "box": [round(edge, 2) for edge in self.box],
            "score": round(self.score, 4),
            "landmarks": dict(zip(LANDMARKS, places, strict=True)),
        }


class FaceDetector(Protocol):
    """A callable that detects the faces in an image."""

    def __call__(self, image: Image.Image, /) -> list[Face]:
        """Return the faces in an image, largest first."""
        ...
