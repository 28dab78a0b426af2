"""Analyze images with a network: detect and classify their faces, and compare them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

import torch
from PIL import Image
from timm.data import resolve_model_data_config
from torch import Tensor

from qcs.data import eval_transform
from qcs.engine.prediction import classify, face_side, predict_faces
from qcs.errors import InputError
from qcs.faces import Face, FaceDetector, Faces, Picture, align
from qcs.faces.alignment import DEFAULT
from qcs.models import CrossSimilarityNetwork
from qcs.serve.clients import check_clients
from qcs.serve.uploads import MOST_FACES, Upload
from qcs.visualize.maps import Comparison, compare

FACE_SIDE = 224  # pixels: side of a face on the page


@dataclass(frozen=True)
class Photo:
    """An image with the predictions for its faces.

    Attributes:
        letter: Letter of the image on the page: A, B, C, ...
        name: Name of the file.
        image: The whole image.
        faces: The classified faces, the largest first; one without a place if the image is one face.
    """

    letter: str
    name: str
    image: Image.Image
    faces: Faces


@dataclass(frozen=True)
class ChosenFace:
    """A face that is compared.

    Attributes:
        name: Letter of the image and number of the face in it, as in "A1"; numbers are those of `qcs predict`.
        face: The face (FACE_SIDE, FACE_SIDE), cropped as for the network.
        pixels: Network input for this face (C, H, W).
        prediction: The classified face in its image.
    """

    name: str
    face: Image.Image
    pixels: Tensor
    prediction: Face

    @property
    def label(self) -> str:
        """Most probable class."""
        return self.prediction.label


def analyze(
    model: CrossSimilarityNetwork,
    uploads: Sequence[Upload],
    detector: FaceDetector | None,
    *,
    crop: str = DEFAULT,
    device: torch.device | str = "cpu",
) -> list[Photo]:
    """Detect and classify the faces in each image.

    Args:
        model: The network.
        uploads: The images.
        detector: Face detector; None if each image is one face.
        crop: Crop of the faces, see `qcs.faces.template`.
        device: Device to compute on.

    Returns:
        The images with predictions, in order.

    Raises:
        InputError: If no face is found in an image; names all such images.

    Example:
        >>> import qcs
        >>> model = qcs.create_model("qcs_nano")
        >>> [photo] = analyze(model, [Upload("a.png", Image.new("RGB", (60, 70)))], detector=None)
        >>> photo.letter, len(photo.faces), len(photo.faces[0].probabilities)
        ('A', 1, 7)
    """
    if detector is None:
        each = classify(model, [upload.image for upload in uploads], device)
        found = [each[[at]] for at in range(len(uploads))]
    else:
        found = list(predict_faces(model, _pictures(uploads), device, detector=detector, crop=crop))
    without = [upload.name for upload, faces in zip(uploads, found, strict=True) if not len(faces)]
    if without:
        raise InputError(
            f"no face found in {', '.join(without)}; choose a photo with an upright, fully visible face, or tick "
            "the box that says each image is a cropped face"
        )
    named = zip(ascii_uppercase, uploads, found, strict=False)
    return [Photo(letter, upload.name, upload.image, faces) for letter, upload, faces in named]


def choose(
    model: CrossSimilarityNetwork, photos: Sequence[Photo], names: Sequence[str] = (), crop: str = DEFAULT
) -> list[ChosenFace]:
    """Return the faces to compare, in the order of the photos.

    Args:
        model: The network.
        photos: The photos.
        names: Names of the faces, such as "A1"; those that no photo has are ignored. Without one, the largest face of
            each photo is chosen, then the next largest, until there are `MOST_FACES`.
        crop: Crop of the faces.

    Raises:
        InputError: If more than `MOST_FACES` are named.
    """
    known = {f"{photo.letter}{n}": (n, photo) for photo in photos for n in range(1, len(photo.faces) + 1)}
    wanted = [name for name in known if name in names]
    if len(wanted) > MOST_FACES:
        raise InputError(f"{len(wanted)} faces are chosen; choose at most {MOST_FACES}")
    if not wanted:
        by_size = sorted(known, key=lambda name: known[name][0])[:MOST_FACES]
        wanted = [name for name in known if name in by_size]
    return [_chosen(model, name, known[name][1], known[name][0] - 1, crop) for name in wanted]


def compare_faces(
    model: CrossSimilarityNetwork, faces: Sequence[ChosenFace], device: torch.device | str = "cpu"
) -> Comparison | None:
    """Compare the faces with the network; None for fewer than two faces or a base network."""
    if len(faces) < 2 or model.branches == 1:
        return None
    check_clients()
    return compare(model, torch.stack([face.pixels for face in faces]).to(device))


def _pictures(uploads: Sequence[Upload]) -> Iterator[Picture]:
    """Yield the images one after another, as long as somebody waits for the answer."""
    for upload in uploads:
        check_clients()
        yield Picture(upload.name, upload.image, Path(upload.name))


def _chosen(model: CrossSimilarityNetwork, name: str, photo: Photo, at: int, crop: str) -> ChosenFace:
    """Crop a face for the network and for display."""
    prediction = photo.faces[at]

    def cut(side: int) -> Image.Image:
        return photo.image if prediction.box is None else align(photo.image, prediction, side, crop)

    config, side = resolve_model_data_config(model), face_side(model)
    # The same resize and center crop for display, with more pixels and unchanged colors.
    display = {**config, "input_size": (3, FACE_SIDE, FACE_SIDE), "mean": (0, 0, 0), "std": (1, 1, 1)}
    colors = eval_transform(display)(cut(round(side * FACE_SIDE / min(config["input_size"][1:]))))
    face = Image.fromarray(colors.permute(1, 2, 0).mul(255).round().clamp(0, 255).to(torch.uint8).numpy())
    return ChosenFace(name, face, eval_transform(config)(cut(side)), prediction)
