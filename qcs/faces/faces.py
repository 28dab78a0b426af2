"""Define `Faces`, the one result type: what detectors, classifiers, trackers and writers take and give.

Needs NumPy and Pillow, no PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol, cast, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from qcs.errors import InputError
from qcs.escaping import printable
from qcs.faces.annotation import annotate
from qcs.faces.face import LANDMARKS, Box, Face, Point
from qcs.faces.picture import Picture

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]

COLUMNS: dict[str, tuple[type, tuple[int | None, ...]]] = {
    "boxes": (np.float64, (4,)),
    "landmarks": (np.float64, (len(LANDMARKS), 2)),
    "scores": (np.float64, ()),
    "probabilities": (np.float64, (None,)),
    "tracks": (np.int64, ()),
    "quality": (np.float64, ()),
}
"""Type and shape of a row of each column; None stands for any length."""


@dataclass(frozen=True, eq=False, repr=False)
class Faces:
    """The faces of one picture as columns, the largest face first; printing it shows a line per face.

    `faces[0]` and iteration give a row, a `Face`; a slice, a mask or a list of indices gives `Faces`. A column that is
    not known is None. `dataclasses.replace` sets columns. See `Face` for the meaning of each column and the pixels.

    Attributes:
        boxes: Left, top, right and bottom edges (n, 4) in pixels.
        landmarks: Places of the five landmarks (n, 5, 2) in pixels, in the order of `LANDMARKS`.
        scores: The detector's confidence (n,), 0 to 1.
        probabilities: Probability of each class (n, K); each row sums to 1.
        classes: The K class names in index order.
        tracks: Number of the person (n,), the same in all pictures of a video.
        quality: Quality of the crop (n,), 0 to 1.
        data: Further columns by name, with n rows each, of values that JSON can hold.
        picture: The picture and its origin; None if it is not known.
        error: Why the picture could not be read; None if it was.
        length: The number of faces, as `len` gives it.

    Raises:
        InputError: If columns have different lengths or wrong shapes.

    Example:
        >>> faces = Faces(probabilities=[[0.9, 0.1], [0.2, 0.8]], classes=("happy", "sad"))
        >>> len(faces), faces.labels, faces[1].label
        (2, ['happy', 'sad'], 'sad')
        >>> faces[faces.probabilities[:, 0] > 0.5]
        1 face
          1  happy 90.0%
    """

    boxes: Floats | None = None
    landmarks: Floats | None = None
    scores: Floats | None = None
    probabilities: Floats | None = None
    classes: tuple[str, ...] = ()
    tracks: Ints | None = None
    quality: Floats | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    picture: Picture | None = None
    error: str | None = None
    length: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        lengths = {name: len(column) for name, column in self.data.items()}
        for name, (kind, row) in COLUMNS.items():
            given = getattr(self, name)
            if given is not None:
                column = _column(name, given, kind, row)
                object.__setattr__(self, name, column)
                lengths[name] = len(column)
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise InputError(f"columns of faces have different lengths: {shown}; expected one row per face in each")
        if self.probabilities is not None and self.probabilities.shape[1] != len(self.classes):
            raise InputError(
                f"faces have {self.probabilities.shape[1]} probabilities each and {len(self.classes)} classes; "
                "expected as many"
            )
        object.__setattr__(self, "length", next(iter(lengths.values()), 0))

    @classmethod
    def of(cls, faces: Iterable[Face], picture: Picture | None = None, classes: Sequence[str] = ()) -> Faces:
        """Return faces from rows, which all know the same columns; without rows all places are empty.

        Args:
            faces: The rows. Their numbers are not kept: the first row is face 1.
            picture: Their picture.
            classes: Class names, if there may be no row to take them from.

        Raises:
            InputError: If a column is known of some rows and not of others.

        Example:
            >>> Faces.of([Face(probabilities={"happy": 0.9, "sad": 0.1})]).classes
            ('happy', 'sad')
        """
        rows = list(faces)
        if not rows:
            return cls(np.empty((0, 4)), np.empty((0, 5, 2)), np.empty(0), picture=picture)

        def column(of: Callable[[Face], Any]) -> Any:
            values = [of(face) for face in rows]
            known = [value is not None for value in values]
            if any(known) and not all(known):
                raise InputError("a column is known of some faces and not of others; expected all or none")
            return values if all(known) else None

        if any(row.data.keys() != rows[0].data.keys() for row in rows):
            raise InputError("a column is known of some faces and not of others; expected all or none")
        names = tuple(rows[0].probabilities or classes)
        return cls(
            column(lambda face: face.box),
            column(lambda face: face.landmarks),
            column(lambda face: face.score),
            column(lambda face: face.probabilities and [face.probabilities[name] for name in names]),
            names,
            column(lambda face: face.track),
            column(lambda face: face.quality),
            {name: [face.data[name] for face in rows] for name in rows[0].data},
            picture,
        )

    @property
    def path(self) -> str:
        """Path of the picture; of one in memory, its number. Empty if the picture is not known."""
        return "" if self.picture is None else self.picture.path

    @property
    def frame(self) -> int | None:
        """Index of the frame in the video; None for a picture."""
        return None if self.picture is None else self.picture.frame

    @property
    def seconds(self) -> float | None:
        """Time of the frame in the video or since the camera was opened, in seconds; None for a picture."""
        return None if self.picture is None else self.picture.seconds

    @property
    def labels(self) -> list[str]:
        """The most probable class of each face; empty if they are not classified."""
        return [] if self.probabilities is None else [self.classes[at] for at in self.probabilities.argmax(1)]

    @property
    def areas(self) -> Floats:
        """Area of each box (n,) in square pixels; 0 without boxes."""
        if self.boxes is None:
            return np.zeros(len(self))
        areas: Floats = (self.boxes[:, 2:] - self.boxes[:, :2]).prod(1)
        return areas

    def largest_first(self) -> Faces:
        """Return the faces in the order of their size."""
        return self[np.argsort(-self.areas, kind="stable")]

    def annotated(self) -> Image.Image:
        """Return a copy of the picture with its faces marked and numbered; read again if it came from a file.

        Raises:
            InputError: If the file cannot be read, or there is no picture.
        """
        if self.picture is None:
            raise InputError("the picture of these faces is not known; use qcs.faces.annotate(image, faces)")
        return annotate(self.picture.image, self)

    def without_pixels(self) -> Faces:
        """Return the same faces whose picture is read from its file when it is needed."""
        return self if self.picture is None else replace(self, picture=replace(self.picture, loaded=None))

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the image as plain values for JSON."""
        rows = [{"number": number, **face.to_dict()} for number, face in enumerate(self, 1)]
        return {**({} if self.picture is None else self.picture.to_dict()), "faces": rows}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], picture: Picture | None = None) -> Faces:
        """Return the faces of a record that `to_dict` gave.

        Args:
            record: The record.
            picture: Their picture; None makes one of the origin in the record, whose image is read when it is needed.

        Raises:
            InputError: If it is no such record.

        Example:
            >>> faces = Faces.of([Face(probabilities={"happy": 0.9, "sad": 0.1})])
            >>> Faces.from_dict(faces.to_dict()) == faces
            True
        """
        try:
            if picture is None and "path" in record:
                path = str(record["path"])
                picture = Picture(path, None, Path(Path(path).name), record.get("frame"), record.get("seconds"))
            return cls.of([_face(row) for row in record["faces"]], picture)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"a record is not one of faces: {' '.join(str(error).split())}") from error

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Face]:
        return (self[at] for at in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Face: ...

    @overload
    def __getitem__(self, index: slice | list[Any] | npt.NDArray[Any]) -> Faces: ...

    def __getitem__(self, index: Any) -> Face | Faces:
        if isinstance(index, (int, np.integer)):
            return self._row(range(len(self))[index])
        kept = np.arange(len(self))[np.asarray(index, dtype=np.int64) if _is_empty(index) else index]
        columns: dict[str, Any] = {
            name: None if (column := getattr(self, name)) is None else column[kept] for name in COLUMNS
        }
        return replace(self, **columns, data={name: [column[at] for at in kept] for name, column in self.data.items()})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Faces):
            return NotImplemented
        same = (_same(getattr(self, each.name), getattr(other, each.name)) for each in fields(self))
        return all(same)

    __hash__ = None  # type: ignore[assignment] # Python's way to say that it has no hash

    def __repr__(self) -> str:
        name = self.path if self.frame is None else f"{self.path} frame {self.frame:,}"
        head = f"{name}: " if name else ""
        if self.error is not None:
            return printable(f"{head}{self.error}")
        count = {0: "no face", 1: "1 face"}.get(len(self), f"{len(self)} faces")
        return "\n".join([printable(f"{head}{count}"), *(f"  {face!r}" for face in self)])

    def _row(self, at: int) -> Face:
        row: dict[str, Any] = {
            name: None if (column := getattr(self, name)) is None else column[at].tolist() for name in COLUMNS
        }
        points = row["landmarks"] and tuple(map(tuple, row["landmarks"]))
        return Face(
            cast("Box | None", row["boxes"] and tuple(row["boxes"])),
            cast("tuple[Point, Point, Point, Point, Point] | None", points),
            row["scores"],
            row["probabilities"] and dict(zip(self.classes, row["probabilities"], strict=True)),
            at + 1,
            row["tracks"],
            row["quality"],
            {name: _plain(column[at]) for name, column in self.data.items()},
        )


class FaceDetector(Protocol):
    """A callable that detects the faces in an image."""

    def __call__(self, image: Image.Image, /) -> Faces:
        """Return the faces in an image, largest first."""
        ...


_KNOWN = frozenset({"number", "track", "box", "score", "landmarks", "quality", "label", "probabilities"})


def _face(row: Mapping[str, Any]) -> Face:
    """Return a face from the record that `Face.to_dict` gave."""
    box, landmarks = row.get("box"), row.get("landmarks")
    points = None if landmarks is None else tuple(tuple(landmarks[name]) for name in LANDMARKS)
    return Face(
        cast("Box | None", box and tuple(box)),
        cast("tuple[Point, Point, Point, Point, Point] | None", points),
        row.get("score"),
        row.get("probabilities"),
        track=row.get("track"),
        quality=row.get("quality"),
        data={name: value for name, value in row.items() if name not in _KNOWN},
    )


def _column(name: str, given: Any, kind: type, row: tuple[int | None, ...]) -> npt.NDArray[Any]:
    """Return a column as an array, if it has the right shape; no row at all has any shape."""
    try:
        column: npt.NDArray[Any] = np.asarray(given, dtype=kind)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} of faces are no numbers of one shape: {error}") from error
    if not column.size and column.ndim and not len(column):
        return column.reshape(0, *(1 if side is None else side for side in row)) if column.ndim == 1 else column
    fits = column.ndim == 1 + len(row) and all(
        side in (None, size) for side, size in zip(row, column.shape[1:], strict=True)
    )
    if not fits:
        shape = ", ".join(["n", *("K" if side is None else str(side) for side in row)])
        raise InputError(f"{name} of faces have the shape {column.shape}; expected ({shape})")
    return column


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _is_empty(index: Any) -> bool:
    return isinstance(index, (list, tuple)) and not index


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return bool(a == b)
