"""Classify faces, in photographs or already cropped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import resolve_model_data_config
from torch import Tensor

from qcs.data import ImageLike, as_image, eval_transform
from qcs.data.images import open_image
from qcs.engine.evaluation import WEIGHTS_TOO_LARGE
from qcs.engine.face_crop import crop_to_predict
from qcs.engine.tta import FlipTTA
from qcs.errors import InputError
from qcs.faces import MTCNN, FaceDetector, Faces, Picture, template
from qcs.faces.alignment import DEFAULT, cut_out
from qcs.faces.picture import as_picture
from qcs.models import Classifier, load_model
from qcs.models.weights import find_weights

BATCH = 64

MOST_PIXELS = 16_000_000  # of the pictures that are in memory at the same time, unless a single one has more


def predict(
    model: Classifier,
    paths: str | Path | Sequence[str | Path],
    device: torch.device | str = "cpu",
    on_unreadable: Callable[[InputError], None] | None = None,
    *,
    tta: bool = False,
) -> Iterator[Faces]:
    """Classify image files that each show one cropped face.

    Args:
        model: The network; its `pretrained_cfg` holds the preprocessing and the class names, and its `calibration`, if
            it has one, what makes its probabilities calibrated.
        paths: One image file or several.
        device: Device to compute on.
        on_unreadable: Called with the error of a file that is not a readable image, which is then skipped; None raises
            the error.
        tta: Whether to use test-time augmentation, see `FlipTTA`.

    Yields:
        The one face of each readable file, in order.

    Raises:
        InputError: If a file is not a readable image and `on_unreadable` is None, or the weights give no finite answer.
    """
    paths = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    classifier = _Classifier(model, device, tta)
    for start in range(0, len(paths), BATCH):
        origins, inputs = [], []
        for path in paths[start : start + BATCH]:
            try:
                inputs.append(classifier.prepare(open_image(path)))  # the picture itself is not kept
            except InputError as error:
                if on_unreadable is None:
                    raise
                on_unreadable(error)
            else:
                origins.append(Picture(str(path), None, Path(Path(path).name)))
        found = classifier(inputs)
        for at, origin in enumerate(origins):
            yield replace(found[[at]], picture=origin)


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
) -> Iterator[Faces]:
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
    group: list[tuple[Faces, list[Tensor]]] = []
    pixels = 0
    for number, picture in enumerate(several(pictures), 1):
        read = as_picture(picture, number, channels)
        found, crops = cut_out(read.image, detector(read.image), side, crop)
        group.append((replace(found, picture=read), [classifier.prepare(image) for image in crops]))
        pixels += read.image.width * read.image.height
        del picture, read, found, crops  # or their pixels stay while the next picture is read
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
) -> Faces:
    """Classify cropped faces.

    Args:
        model: As for `predict`.
        faces: Images that each show one cropped face, in any form that `qcs.data.as_image` takes; an array or a tensor
            is one image.
        device: Device to compute on.
        tta: As for `predict`.
        channels: Order of the channels of arrays, `"rgb"` or `"bgr"`.

    Returns:
        The faces in order, without places; one face for one image.

    Raises:
        InputError: If a face is no image, or the weights give no finite answer.

    Example:
        >>> import qcs
        >>> model = qcs.create_model("qcs_nano", num_classes=3)
        >>> classify(model, Image.new("L", (60, 70))).probabilities.shape
        (1, 3)
    """
    classifier = _Classifier(model, device, tta)
    return classifier([classifier.prepare(as_image(face, channels)) for face in several(faces)])


def crop_classifier(
    weights: str | Path | Classifier, crop: str | None = None, *, tta: bool = False
) -> tuple[Callable[[Sequence[Image.Image]], Faces], str, int]:
    """Return a function that classifies aligned faces, and the crop and the side in pixels that it wants.

    Args:
        weights: A network, or anything that `qcs.load_model` takes.
        crop: Crop template; None is that of the weights.
        tta: As for `predict`.

    Raises:
        InputError: If weights cannot be read.
    """
    if isinstance(weights, torch.nn.Module):
        model, crop = weights, crop or DEFAULT
    else:
        file = find_weights(weights)
        model, crop = load_model(file), crop_to_predict(file, crop)
    classifier = _Classifier(model, default_device(), tta)
    return lambda crops: classifier([classifier.prepare(each) for each in crops]), crop, face_side(model)


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


class _Classifier:
    """Prepare faces and classify them in batches.

    Args:
        model: The network.
        device: Device to compute on.
        tta: Whether to average with the mirror image.
    """

    def __init__(self, model: Classifier, device: torch.device | str, tta: bool) -> None:
        self.prepare: Callable[[Image.Image], Tensor] = eval_transform(resolve_model_data_config(model))
        self.names, self.device, self.calibration = model.class_names, device, model.calibration
        model = model.to(device).eval()
        self._network = FlipTTA(model) if tta else model

    def __call__(self, faces: Sequence[Tensor]) -> Faces:
        """Return the classified faces, without places, for prepared faces (C, H, W).

        Raises:
            InputError: If one is not finite.
        """
        rows: list[list[float]] = []
        for start in range(0, len(faces), BATCH):
            with torch.inference_mode():
                batch = torch.stack([*faces[start : start + BATCH]]).to(self.device)
                logits = self._network(batch).float()
                probabilities = (self.calibration.label(logits) if self.calibration else logits).softmax(-1)
            if not probabilities.isfinite().all():
                raise InputError(f"the network gives probabilities that are not finite: {WEIGHTS_TOO_LARGE}")
            rows += probabilities.tolist()
        return Faces(probabilities=np.array(rows).reshape(-1, len(self.names)), classes=self.names)


def _classified(classifier: _Classifier, group: list[tuple[Faces, list[Tensor]]]) -> Iterator[Faces]:
    """Yield the classified faces of pictures, and remove each picture from the list."""
    rows = classifier([crop for _, crops in group for crop in crops])
    start = 0
    while group:
        faces, crops = group.pop(0)
        own = rows[start : start + len(crops)]
        start += len(crops)
        yield replace(faces, probabilities=own.probabilities, classes=own.classes)
        del faces, crops


def default_device() -> torch.device:
    """Return the GPU if there is one, otherwise the CPU."""
    chosen = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return chosen or torch.device("cpu")


def face_side(model: Classifier) -> int:
    """Return the side of face crops in pixels: the size to which the transform of the network resizes them anyway."""
    config = resolve_model_data_config(model)
    return round(min(config["input_size"][1:]) / config["crop_pct"])
