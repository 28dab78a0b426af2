"""Predict the expressions in one picture or many with one call."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from qcs.data import ImageLike
from qcs.engine.answers import answer_rules
from qcs.engine.face_crop import crop_to_predict
from qcs.engine.prediction import classify, default_device, predict_faces
from qcs.errors import InputError
from qcs.faces import MTCNN, Faces, Picture, template
from qcs.faces.alignment import DEFAULT
from qcs.faces.media import VIDEO_SUFFIXES, image_files, no_images
from qcs.faces.picture import as_picture
from qcs.models import Classifier, load_model
from qcs.models.weights import find_weights

WEIGHTS = "qcs_small"
"""The weights that `qcs.predict` and `qcs predict` use by default; they are part of the package."""


def predict(
    pictures: ImageLike | Sequence[ImageLike],
    *,
    weights: str | Path | Classifier = WEIGHTS,
    channels: str = "rgb",
    detect: bool = True,
    crop: str | None = None,
    min_face: int | None = None,
    tta: bool = False,
    device: torch.device | str | None = None,
    coverage: float | None = None,
    min_confidence: float | None = None,
    max_risk: float | None = None,
    distribution: bool = False,
    quality: bool = False,
) -> Any:  # a union would have to be narrowed before every use
    """Find the faces in a picture and predict the expression of each.

    Needs the extra `faces`, unless `detect` is False.

    Args:
        pictures: A picture: the path or the bytes of an image file, an image of Pillow, an array (H, W) or (H, W, C) or
            a tensor (C, H, W), see `qcs.data.as_image`; a list of these; or a folder, searched at any depth.
        weights: A network, or anything that `qcs.load_model` takes; by default weights that are part of the package.
        channels: Order of the channels of arrays and tensors: `"rgb"`, or `"bgr"` for a frame of OpenCV.
        detect: Whether to detect faces; False takes each picture as one cropped face.
        crop: Crop template, see `qcs.faces.template`; None is that of the weights.
        min_face: Side of the smallest face to detect, in pixels, see `qcs.faces.MTCNN`.
        tta: Whether to average each face with its mirror image, at twice the cost.
        device: Device to compute on; None is a GPU if there is one.
        coverage: Add the set of labels of which one is right with this probability, see `AnswerRules`.
        min_confidence: Doubt answers of less confidence.
        max_risk: Doubt so many answers that at most this share of the others is wrong.
        distribution: Add the distribution of the votes of several annotators.
        quality: Doubt faces that are too small, blurred, turned away or cut off, see `QualityGate`.

    Returns:
        The `Faces` of the picture; or a list of them, in order, for a list or a folder. A result of a list holds no
        pixels of a file. A picture of a list that cannot be read is a warning, and its result says why in `error`.

    Raises:
        InputError: If a single picture cannot be read, a folder holds no image, an argument is not valid, or the extra
            is missing.

    Example:
        >>> import qcs
        >>> from PIL import Image
        >>> result = qcs.predict(Image.new("L", (48, 48)), detect=False)
        >>> len(result), len(result[0].probabilities)
        (1, 8)
    """
    alone, found = _listed(pictures)
    template(crop or DEFAULT)
    detector = MTCNN(min_face) if detect else None  # a missing extra is an error before anything is loaded
    model, crop = _network(weights, crop)
    device = device or default_device()
    rules = answer_rules(
        model.calibration,
        coverage=coverage,
        min_confidence=min_confidence,
        max_risk=max_risk,
        distribution=distribution,
        quality=quality,
        crop=crop,
    )

    def answer(picture: Picture) -> Faces:
        if detector is None:
            return rules(replace(classify(model, picture.image, device, tta=tta), picture=picture))
        (result,) = predict_faces(model, picture, device, detector=detector, crop=crop, tta=tta)
        return rules(result)

    if alone:
        return answer(as_picture(found[0], 1, channels))
    return list(_answers(found, channels, answer))


def _answers(found: Sequence[ImageLike], channels: str, answer: Any) -> Iterator[Faces]:
    """Yield the results of pictures; they hold no pixels that their files hold, so that any number fits in memory."""
    for number, item in enumerate(found, 1):
        on_disk = isinstance(item, (str, os.PathLike))
        try:
            result = answer(as_picture(item, number, channels))
        except InputError as error:
            name = os.fspath(item) if isinstance(item, (str, os.PathLike)) else f"picture {number}"
            warnings.warn(str(error) if on_disk else f"{name}: {error}", stacklevel=3)
            yield Faces(picture=Picture(name, None, Path(name)), error=str(error))
            continue
        yield result.without_pixels() if on_disk else result


def _listed(pictures: Any) -> tuple[bool, Sequence[ImageLike]]:
    """Return whether it is one picture, and the pictures.

    Raises:
        InputError: If it is a folder without images, a video, or a kind that is not read.
    """
    if isinstance(pictures, (str, os.PathLike)):
        path = Path(pictures)
        if path.is_dir():
            if not (files := image_files(path)):
                raise no_images([path])
            return False, files
        if path.suffix.lower() in VIDEO_SUFFIXES:
            raise InputError(
                f"{path} is a video; run qcs predict, or pass qcs.faces.pictures(path) to qcs.engine.predict_faces"
            )
        return True, [pictures]
    if isinstance(pictures, (bytes, Image.Image, np.ndarray, Tensor)):
        return True, [pictures]
    if isinstance(pictures, Sequence):
        return False, pictures
    raise InputError(
        f"got {type(pictures).__name__}; expected a path, an image of Pillow, an array, a tensor, the bytes of an "
        "image file, or a list of these"
    )


def _network(weights: str | Path | Classifier, crop: str | None) -> tuple[Classifier, str]:
    if isinstance(weights, torch.nn.Module):
        return weights, crop or DEFAULT
    file = find_weights(weights)
    return _loaded(file, file.stat().st_mtime_ns), crop_to_predict(file, crop)


@lru_cache(maxsize=1)  # so that calls in a loop do not read the file again
def _loaded(file: Path, changed: int) -> Classifier:
    return load_model(file)
