"""Classify faces, in photographs or already cropped."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from timm.data import resolve_model_data_config
from torch import Tensor

from qcs.data import ImageLike, as_image, eval_transform
from qcs.data.images import open_image
from qcs.engine.evaluation import WEIGHTS_TOO_LARGE
from qcs.engine.tta import FlipTTA
from qcs.errors import InputError
from qcs.escaping import printable
from qcs.faces import MTCNN, Face, FaceDetector, Picture, align, annotate, template
from qcs.faces.alignment import DEFAULT
from qcs.faces.face import Point
from qcs.faces.media import unicode_path
from qcs.models import Classifier

BATCH = 64

MOST_PIXELS = 16_000_000  # of the pictures that are in memory at the same time, unless a single one has more


@dataclass(frozen=True, repr=False)
class Prediction:
    """Class probabilities of one face.

    Attributes:
        path: The image file.
        probabilities: Probability of every class by name, in [0, 1]; they sum to 1.
        face: The detected face; None if the whole image is one face.
        number: Number of the face in its picture, the largest is 1; the same in JSON, CSV and annotated pictures.

    Example:
        >>> Prediction("a.png", {"happy": 0.9, "sad": 0.1})
        1  happy 90.0%
    """

    path: str
    probabilities: dict[str, float]
    face: Face | None = None
    number: int = 1

    @property
    def label(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def box(self) -> tuple[float, float, float, float] | None:
        """Left, top, right and bottom edge in pixels; None if the whole image is one face."""
        return None if self.face is None else self.face.box

    @property
    def landmarks(self) -> tuple[Point, Point, Point, Point, Point] | None:
        """The five landmarks in pixels, see `qcs.faces.LANDMARKS`; None if the whole image is one face."""
        return None if self.face is None else self.face.landmarks

    @property
    def score(self) -> float | None:
        """The detector's confidence, 0 to 1; None if the whole image is one face."""
        return None if self.face is None else self.face.score

    @property
    def summary(self) -> str:
        """The most probable class and its probability, as in `happy 93.1%`."""
        return f"{self.label} {self.probabilities[self.label]:.1%}"

    def __repr__(self) -> str:
        place = "" if self.box is None else f"  box {', '.join(f'{edge:.0f}' for edge in self.box)}"
        return printable(f"{self.number}  {self.summary}{place}")

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values for JSON."""
        where = {"number": self.number, **self.face.to_dict()} if self.face else {}
        return {"path": unicode_path(self.path), **where, "label": self.label, "probabilities": self.probabilities}


@dataclass(frozen=True, repr=False)
class PicturePrediction:
    """Predictions of all faces in a picture; printing it shows a line per face.

    Attributes:
        picture: The picture and its origin.
        faces: A prediction per face, the largest face first; empty if there is no face.
        error: Why the picture could not be read; None if it was.

    Example:
        >>> picture = Picture("a.png", Image.new("L", (9, 9)), Path("a.png"))
        >>> PicturePrediction(picture, (Prediction("a.png", {"happy": 0.9, "sad": 0.1}),))
        a.png: 1 face
          1  happy 90.0%
    """

    picture: Picture
    faces: tuple[Prediction, ...]
    error: str | None = None

    @property
    def path(self) -> str:
        """Path of the picture; of one in memory, its number."""
        return self.picture.path

    def annotated(self) -> Image.Image:
        """Return a copy of the picture with its faces marked and numbered; read again if it came from a file.

        Raises:
            InputError: If the file cannot be read.
        """
        marks = [(found.face, f"{found.number} {found.summary}") for found in self.faces if found.face]
        return annotate(self.picture.image, marks)

    def __repr__(self) -> str:
        if self.error is not None:
            return printable(f"{self.path}: {self.error}")
        frame = "" if self.picture.frame is None else f" frame {self.picture.frame:,}"
        count = {0: "no face", 1: "1 face"}.get(len(self.faces), f"{len(self.faces)} faces")
        return "\n".join([printable(f"{self.path}{frame}: {count}"), *(f"  {face!r}" for face in self.faces)])

    def to_dict(self) -> dict[str, Any]:
        """Return all fields but the image as plain values for JSON."""
        faces = [{name: value for name, value in face.to_dict().items() if name != "path"} for face in self.faces]
        return {**self.picture.to_dict(), "faces": faces}


def predict(
    model: Classifier,
    paths: str | Path | Sequence[str | Path],
    device: torch.device | str = "cpu",
    on_unreadable: Callable[[InputError], None] | None = None,
    *,
    tta: bool = False,
) -> Iterator[Prediction]:
    """Classify image files that each show one cropped face.

    Args:
        model: The network; its `pretrained_cfg` holds the preprocessing and the class names.
        paths: One image file or several.
        device: Device to compute on.
        on_unreadable: Called with the error of a file that is not a readable image, which is then skipped; None raises
            the error.
        tta: Whether to use test-time augmentation, see `FlipTTA`.

    Yields:
        A prediction per readable file, in order.

    Raises:
        InputError: If a file is not a readable image and `on_unreadable` is None, or the weights give no finite answer.
    """
    paths = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    classifier = _Classifier(model, device, tta)
    for start in range(0, len(paths), BATCH):
        names, inputs = [], []
        for path in paths[start : start + BATCH]:
            try:
                inputs.append(classifier.prepare(open_image(path)))  # the picture itself is not kept
            except InputError as error:
                if on_unreadable is None:
                    raise
                on_unreadable(error)
            else:
                names.append(str(path))
        for name, probabilities in zip(names, classifier(inputs), strict=True):
            yield Prediction(name, probabilities)


def predict_faces(
    model: Classifier,
    pictures: Picture | ImageLike | Iterable[Picture | ImageLike],
    device: torch.device | str = "cpu",
    *,
    detector: FaceDetector | None = None,
    crop: str = DEFAULT,
    together: int = 8,
    tta: bool = False,
    channels: str = "rgb",
) -> Iterator[PicturePrediction]:
    """Detect the faces in pictures, align and classify them.

    Args:
        model: As for `predict`.
        pictures: Pictures, as `qcs.faces.pictures` reads them from photographs, folders, videos and cameras; or one or
            several in any form that `qcs.data.as_image` takes.
        device: Device to compute on.
        detector: Face detector; None is `qcs.faces.MTCNN()`.
        crop: Crop template, see `qcs.faces.template`; use that of the training images, see `qcs.engine.trained_crop`.
        together: Largest number of pictures whose faces are classified in one batch, less for large pictures; 1 yields
            after each picture.
        tta: As for `predict`.
        channels: Order of the channels of arrays, `"rgb"` or `"bgr"`.

    Yields:
        The faces of each picture, in order.

    Raises:
        InputError: If the crop is unknown, a picture cannot be read, the weights give no finite answer, or a package is
            missing.
    """
    side = face_side(model)
    template(crop)  # an unknown crop is an error even if no face is found
    detector = detector or MTCNN()
    classifier = _Classifier(model, device, tta)
    group: list[tuple[Picture, list[tuple[Face, Tensor]]]] = []
    pixels = 0
    for number, picture in enumerate(several(pictures), 1):
        read = as_picture(picture, number, channels)
        cut = [(face, classifier.prepare(image)) for face, image in _cut_out(read, detector, side, crop)]
        group.append((read, cut))
        pixels += read.image.width * read.image.height
        del picture, read  # or their pixels stay while the next picture is read
        if len(group) >= together or pixels >= MOST_PIXELS:
            yield from _classified(classifier, group)
            pixels = 0
    yield from _classified(classifier, group)


def classify(
    model: Classifier,
    faces: ImageLike | Iterable[ImageLike],
    device: torch.device | str = "cpu",
    *,
    tta: bool = False,
    channels: str = "rgb",
) -> list[dict[str, float]]:
    """Classify cropped faces.

    Args:
        model: As for `predict`.
        faces: Images that each show one cropped face, in any form that `qcs.data.as_image` takes; an array or a tensor
            is one image.
        device: Device to compute on.
        tta: As for `predict`.
        channels: Order of the channels of arrays, `"rgb"` or `"bgr"`.

    Returns:
        Probability of every class by name for each face, in order; a list of one for one image.

    Raises:
        InputError: If a face is no image, or the weights give no finite answer.

    Example:
        >>> import qcs
        >>> model = qcs.create_model("qcs_nano", num_classes=3)
        >>> [round(sum(row.values()), 4) for row in classify(model, Image.new("L", (60, 70)))]
        [1.0]
    """
    classifier = _Classifier(model, device, tta)
    return classifier([classifier.prepare(as_image(face, channels)) for face in several(faces)])


def several(pictures: Any) -> Iterable[Any]:
    """Return pictures as they are, and one picture as a list of one.

    Raises:
        InputError: If it is neither.
    """
    if isinstance(pictures, (Picture, str, os.PathLike, bytes, Image.Image)):
        return [pictures]
    if hasattr(pictures, "ndim"):  # an array or a tensor, which could be iterated over by its rows
        return [pictures]
    if not isinstance(pictures, Iterable):
        raise InputError(f"got {type(pictures).__name__}; expected a picture or a list of pictures")
    return pictures


def as_picture(picture: Picture | ImageLike, number: int, channels: str = "rgb") -> Picture:
    """Return a picture in any form with its origin: its path, or its number if it is in memory.

    Raises:
        InputError: If it cannot be read.
    """
    if isinstance(picture, Picture):
        return picture
    if isinstance(picture, (str, os.PathLike)):
        return Picture(os.fspath(picture), open_image(picture), Path(Path(picture).name))
    return Picture(f"picture {number}", as_image(picture, channels), Path(f"{number}.png"))


class _Classifier:
    """Prepare faces and classify them in batches.

    Args:
        model: The network.
        device: Device to compute on.
        tta: Whether to average with the mirror image.
    """

    def __init__(self, model: Classifier, device: torch.device | str, tta: bool) -> None:
        self.prepare: Callable[[Image.Image], Tensor] = eval_transform(resolve_model_data_config(model))
        self.names, self.device = model.class_names, device
        model = model.to(device).eval()
        self._network = FlipTTA(model) if tta else model

    def __call__(self, faces: Sequence[Tensor]) -> list[dict[str, float]]:
        """Return the probabilities of every class by name, for prepared faces (C, H, W).

        Raises:
            InputError: If one is not finite.
        """
        rows: list[dict[str, float]] = []
        for start in range(0, len(faces), BATCH):
            with torch.inference_mode():
                batch = torch.stack([*faces[start : start + BATCH]]).to(self.device)
                probabilities = self._network(batch).float().softmax(-1)
            if not probabilities.isfinite().all():
                raise InputError(f"the network gives probabilities that are not finite: {WEIGHTS_TOO_LARGE}")
            rows += [dict(zip(self.names, row, strict=True)) for row in probabilities.tolist()]
        return rows


def _classified(
    classifier: _Classifier, group: list[tuple[Picture, list[tuple[Face, Tensor]]]]
) -> Iterator[PicturePrediction]:
    """Yield the predictions of pictures, and remove each picture from the list."""
    rows = iter(classifier([face for _, faces in group for _, face in faces]))
    while group:
        picture, faces = group.pop(0)
        found = [Prediction(picture.path, next(rows), face, number) for number, (face, _) in enumerate(faces, 1)]
        yield PicturePrediction(picture, tuple(found))
        del picture


def default_device() -> torch.device:
    """Return the GPU if there is one, otherwise the CPU."""
    chosen = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return chosen or torch.device("cpu")


def face_side(model: Classifier) -> int:
    """Return the side of face crops in pixels: the size to which the transform of the network resizes them anyway."""
    config = resolve_model_data_config(model)
    return round(min(config["input_size"][1:]) / config["crop_pct"])


def _cut_out(picture: Picture, detector: FaceDetector, side: int, crop: str) -> list[tuple[Face, Image.Image]]:
    """Return faces and their crops; faces with impossible landmarks or values that are not finite are left out."""
    cut = []
    for face in detector(picture.image):
        if not all(map(math.isfinite, (*face.box, face.score))):
            continue
        with contextlib.suppress(InputError):
            cut.append((face, align(picture.image, face, side, crop)))
    return cut
