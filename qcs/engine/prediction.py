"""Classify faces, in photographs or already cropped."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from timm.data import resolve_model_data_config

from qcs.data import eval_transform
from qcs.data.images import open_image
from qcs.engine.tta import FlipTTA
from qcs.errors import InputError
from qcs.faces import MTCNN, Face, FaceDetector, Picture, align, template
from qcs.faces.alignment import DEFAULT
from qcs.models import CrossSimilarityNetwork

BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """Class probabilities of one face.

    Attributes:
        path: The image file.
        probabilities: Probability of every class by name, in [0, 1]; they sum to 1.
        face: The detected face; None if the whole image is one face.
    """

    path: str
    probabilities: dict[str, float]
    face: Face | None = None

    @property
    def label(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def summary(self) -> str:
        """The most probable class and its probability, as in `happy 93.1%`."""
        return f"{self.label} {self.probabilities[self.label]:.1%}"

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values for JSON."""
        where = self.face.to_dict() if self.face else {}
        return {"path": self.path, **where, "label": self.label, "probabilities": self.probabilities}


@dataclass(frozen=True)
class PicturePrediction:
    """Predictions of all faces in a picture.

    Attributes:
        picture: The picture and its origin.
        faces: A prediction per face, the largest face first; empty if there is no face.
    """

    picture: Picture
    faces: tuple[Prediction, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all fields but the image as plain values for JSON."""
        faces = [{name: value for name, value in face.to_dict().items() if name != "path"} for face in self.faces]
        return {**self.picture.to_dict(), "faces": faces}


def predict(
    model: CrossSimilarityNetwork,
    paths: Sequence[str | Path],
    device: torch.device | str = "cpu",
    on_unreadable: Callable[[InputError], None] | None = None,
    *,
    tta: bool = False,
) -> Iterator[Prediction]:
    """Classify image files that each show one cropped face.

    Args:
        model: The network; its `pretrained_cfg` holds the preprocessing and the class names.
        paths: Image files.
        device: Device to compute on.
        on_unreadable: Called with the error of a file that is not a readable image, which is then skipped; None raises
            the error.
        tta: Whether to use test-time augmentation, see `FlipTTA`.

    Yields:
        A prediction per readable file, in order.

    Raises:
        InputError: If a file is not a readable image and `on_unreadable` is None.
    """
    for start in range(0, len(paths), BATCH):
        opened = list(_open(paths[start : start + BATCH], on_unreadable))
        rows = classify(model, [image for _, image in opened], device, tta=tta)
        for (path, _), probabilities in zip(opened, rows, strict=True):
            yield Prediction(path, probabilities)


def predict_faces(
    model: CrossSimilarityNetwork,
    pictures: Iterable[Picture],
    device: torch.device | str = "cpu",
    *,
    detector: FaceDetector | None = None,
    crop: str = DEFAULT,
    together: int = 8,
    tta: bool = False,
) -> Iterator[PicturePrediction]:
    """Detect the faces in pictures, align and classify them.

    Args:
        model: As for `predict`.
        pictures: Pictures, as `qcs.faces.pictures` reads them from photographs, folders, videos and cameras.
        device: Device to compute on.
        detector: Face detector; None is `qcs.faces.MTCNN()`.
        crop: Crop template, see `qcs.faces.template`; use that of the training images, see `qcs.engine.trained_crop`.
        together: Number of pictures whose faces are classified in one batch; 1 yields after each picture.
        tta: As for `predict`.

    Yields:
        The faces of each picture, in order.

    Raises:
        InputError: If the crop is unknown, or a package is missing.
    """
    side = face_side(model)
    template(crop)  # an unknown crop is an error even if no face is found
    detector = detector or MTCNN()
    pictures = iter(pictures)
    while group := list(itertools.islice(pictures, together)):
        found = [_cut_out(picture, detector, side, crop) for picture in group]
        cut = [image for faces in found for _, image in faces]
        rows = iter(classify(model, cut, device, tta=tta))
        for picture, faces in zip(group, found, strict=True):
            yield PicturePrediction(picture, tuple(Prediction(picture.path, next(rows), face) for face, _ in faces))


def classify(
    model: CrossSimilarityNetwork,
    faces: Sequence[Image.Image],
    device: torch.device | str = "cpu",
    *,
    tta: bool = False,
) -> list[dict[str, float]]:
    """Classify cropped faces in memory.

    Args:
        model: As for `predict`.
        faces: Images that each show one cropped face.
        device: Device to compute on.
        tta: As for `predict`.

    Returns:
        Probability of every class by name for each face, in order.

    Example:
        >>> import qcs
        >>> model = qcs.create_model("qcs_nano", num_classes=3)
        >>> [round(sum(row.values()), 4) for row in classify(model, [Image.new("L", (60, 70))])]
        [1.0]
    """
    transform = eval_transform(resolve_model_data_config(model))
    model = model.to(device).eval()
    classifier = FlipTTA(model) if tta else model
    rows: list[dict[str, float]] = []
    for start in range(0, len(faces), BATCH):
        batch = torch.stack([transform(face) for face in faces[start : start + BATCH]]).to(device)
        with torch.inference_mode():
            probabilities = classifier(batch).float().softmax(-1).tolist()
        rows += [dict(zip(model.class_names, row, strict=True)) for row in probabilities]
    return rows


def face_side(model: CrossSimilarityNetwork) -> int:
    """Return the side of face crops in pixels: the size to which the transform of the network resizes them anyway."""
    config = resolve_model_data_config(model)
    return round(min(config["input_size"][1:]) / config["crop_pct"])


def _cut_out(picture: Picture, detector: FaceDetector, side: int, crop: str) -> list[tuple[Face, Image.Image]]:
    """Return faces and their crops; faces with impossible landmarks are left out."""
    cut = []
    for face in detector(picture.image):
        with contextlib.suppress(InputError):
            cut.append((face, align(picture.image, face, side, crop)))
    return cut


def _open(
    paths: Sequence[str | Path], on_unreadable: Callable[[InputError], None] | None
) -> Iterator[tuple[str, Image.Image]]:
    for path in paths:
        try:
            yield str(path), open_image(path)
        except InputError as error:
            if on_unreadable is None:
                raise
            on_unreadable(error)
