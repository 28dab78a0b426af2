"""Define one face of a picture, a row of `Faces`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qcs.errors import InputError
from qcs.escaping import printable

LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
"""Names of the five landmarks of a face, in order."""

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, repr=False)
class Face:
    """A face in a picture.

    Coordinates are in pixels of the image, x to the right and y down; whole numbers are centers of pixels. Left and
    right are those of the image, not of the person.

    Attributes:
        box: Left, top, right and bottom edge; None if the whole image is one face.
        landmarks: Center of the left eye, center of the right eye, tip of the nose, left and right corner of the mouth;
            None if the whole image is one face.
        score: The detector's confidence, 0 to 1; None if the whole image is one face.
        probabilities: Probability of every class by name, in [0, 1]; they sum to 1. None if the face is not classified.
        number: Number of the face in its picture, the largest is 1; the same in JSON, CSV and annotated pictures.
        track: Number of the person in the video; None if the face is not tracked.
        quality: Quality of the crop, 0 to 1; None if it is not measured.
        data: The row of each further column of `Faces.data`.

    Raises:
        InputError: If there are not five landmarks.

    Example:
        >>> face = Face((0, 0, 40, 50), ((10, 20), (30, 20), (20, 30), (12, 40), (28, 40)), 0.99)
        >>> face.area, face.to_dict()["landmarks"]["nose"]
        (2000, [20, 30])
        >>> Face(probabilities={"happy": 0.9, "sad": 0.1})
        1  happy 90.0%
    """

    box: Box | None = None
    landmarks: tuple[Point, Point, Point, Point, Point] | None = None
    score: float | None = None
    probabilities: dict[str, float] | None = None
    number: int = 1
    track: int | None = None
    quality: float | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.landmarks is not None and len(self.landmarks) != len(LANDMARKS):
            raise InputError(f"a face has {len(self.landmarks)} landmarks; expected {', '.join(LANDMARKS)}")

    @property
    def area(self) -> float:
        """Area of the box in square pixels; 0 without a box."""
        left, top, right, bottom = self.box or (0, 0, 0, 0)
        return (right - left) * (bottom - top)

    @property
    def label(self) -> str:
        """The most probable class.

        Raises:
            InputError: If the face is not classified.
        """
        if not self.probabilities:
            raise InputError("the face is not classified; use qcs.predict or qcs.engine.predict_faces")
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def name(self) -> int:
        """The number that stands for the face in printed lines and annotated pictures: track if there is one."""
        return self.number if self.track is None else self.track

    @property
    def summary(self) -> str:
        """The answer in a few words, as in `happy 93.1%`, `sad or neutral (90%)` for a set, or `cannot tell: ...`.

        The score if the face is not classified.
        """
        if doubts := self.data.get("doubts"):
            return f"cannot tell: {'; '.join(doubts)}"
        if self.probabilities and (labels := self.data.get("set")):
            return f"{' or '.join(labels)} ({self.data['coverage']:.0%})"
        if self.probabilities:
            return f"{self.label} {self.probabilities[self.label]:.1%}"
        return "face" if self.score is None else f"face {self.score:.1%}"

    def __repr__(self) -> str:
        place = "" if self.box is None else f"  box {', '.join(f'{edge:.0f}' for edge in self.box)}"
        return printable(f"{self.name}  {self.summary}{place}")

    def to_dict(self) -> dict[str, Any]:
        """Return what is known of the face as plain values for JSON; places are rounded to 0.01 pixels."""
        record: dict[str, Any] = {} if self.track is None else {"track": self.track}
        if self.box is not None:
            record["box"] = [round(edge, 2) for edge in self.box]
        if self.score is not None:
            record["score"] = round(self.score, 4)
        if self.landmarks is not None:
            places = [[round(x, 2), round(y, 2)] for x, y in self.landmarks]
            record["landmarks"] = dict(zip(LANDMARKS, places, strict=True))
        if self.quality is not None:
            record["quality"] = round(self.quality, 4)
        if self.probabilities:
            record |= {"label": self.label, "probabilities": self.probabilities}
        return record | dict(self.data)
