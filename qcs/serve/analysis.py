"""Analyze images with a network: detect and classify their faces, and compare them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from timm.data import resolve_model_data_config
from torch import Tensor

from qcs.data import eval_transform
from qcs.engine.prediction import Prediction, classify, face_side, predict_faces
from qcs.errors import InputError
from qcs.faces import FaceDetector, Picture, align
from qcs.faces.alignment import DEFAULT
from qcs.models import CrossSimilarityNetwork
from qcs.serve.uploads import Upload
from qcs.visualize.maps import Comparison, compare

FACE_SIDE = 224  # pixels: side of a face on the page


@dataclass(frozen=True)
class AnalyzedImage:
    """An image, its largest face and the prediction for it.

    Attributes:
        name: Name of the file.
        image: The whole image.
        faces: The detected faces, largest first; empty if the image is one face.
        face: The largest face (FACE_SIDE, FACE_SIDE), cropped as for the network.
        pixels: Network input for this face (C, H, W).
        probabilities: Probability of every class, by name.
    """

    name: str
    image: Image.Image
    faces: tuple[Prediction, ...]
    face: Image.Image
    pixels: Tensor
    probabilities: dict[str, float]

    @property
    def label(self) -> str:
        """Most probable class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


def analyze(
    model: CrossSimilarityNetwork,
    uploads: Sequence[Upload],
    detector: FaceDetector | None,
    *,
    crop: str = DEFAULT,
    device: torch.device | str = "cpu",
) -> list[AnalyzedImage]:
    """Detect and classify the face in each image.

    Args:
        model: The network.
        uploads: The images.
        detector: Face detector; None if each image is one face.
        crop: Crop of the faces, see `qcs.faces.template`.
        device: Device to compute on.

    Returns:
        The analyzed images, in order.

    Raises:
        InputError: If no face is found in an image; names all such images.

    Example:
        >>> import qcs
        >>> model = qcs.create_model("qcs_nano")
        >>> [analyzed] = analyze(model, [Upload("a.png", Image.new("RGB", (60, 70)))], detector=None)
        >>> analyzed.face.size, analyzed.pixels.shape, len(analyzed.probabilities)
        ((224, 224), torch.Size([3, 48, 48]), 7)
    """
    if detector is None:
        rows = classify(model, [upload.image for upload in uploads], device)
        return [_whole_image(model, upload, row) for upload, row in zip(uploads, rows, strict=True)]
    pictures = [Picture(upload.name, upload.image, Path(upload.name)) for upload in uploads]
    found = list(predict_faces(model, pictures, device, detector=detector, crop=crop))
    without = [shown.picture.path for shown in found if not shown.faces]
    if without:
        raise InputError(
            f"no face found in {', '.join(without)}; choose a photo with an upright, fully visible face, or tick "
            "the box that says each image is a cropped face"
        )
    return [_by_largest_face(model, shown.picture, shown.faces, crop) for shown in found]


def compare_faces(
    model: CrossSimilarityNetwork, images: Sequence[AnalyzedImage], device: torch.device | str = "cpu"
) -> Comparison | None:
    """Compare the faces with the network; None for fewer than two faces or a base network."""
    if len(images) < 2 or model.branches == 1:
        return None
    return compare(model, torch.stack([image.pixels for image in images]).to(device))


def _whole_image(model: CrossSimilarityNetwork, upload: Upload, probabilities: dict[str, float]) -> AnalyzedImage:
    """Return the analysis of an image that is one face."""
    return _analyzed(model, upload.name, upload.image, (), lambda _: upload.image, probabilities)


def _by_largest_face(
    model: CrossSimilarityNetwork, picture: Picture, found: Sequence[Prediction], crop: str
) -> AnalyzedImage:
    """Return the analysis of a picture by the largest of its faces."""
    largest = found[0].face
    assert largest is not None  # predictions on detected faces have one
    cut = partial(align, picture.image, largest, crop=crop)
    return _analyzed(model, picture.path, picture.image, tuple(found), cut, found[0].probabilities)


def _analyzed(
    model: CrossSimilarityNetwork,
    name: str,
    image: Image.Image,
    faces: tuple[Prediction, ...],
    cut: Callable[[int], Image.Image],
    probabilities: dict[str, float],
) -> AnalyzedImage:
    """Crop the face with `cut`, a function of its side, for the network and for display."""
    config, side = resolve_model_data_config(model), face_side(model)
    # The same resize and center crop for display, with more pixels and unchanged colors.
    display = {**config, "input_size": (3, FACE_SIDE, FACE_SIDE), "mean": (0, 0, 0), "std": (1, 1, 1)}
    colors = eval_transform(display)(cut(round(side * FACE_SIDE / min(config["input_size"][1:]))))
    face = Image.fromarray(colors.permute(1, 2, 0).mul(255).round().clamp(0, 255).to(torch.uint8).numpy())
    return AnalyzedImage(name, image, faces, face, eval_transform(config)(cut(side)), probabilities)
