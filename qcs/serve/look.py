"""What a network sees in images: their faces, what it reads in them, and how it compares them."""

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

SHOWN = 224  # pixels: side of a face on the page


@dataclass(frozen=True)
class Seen:
    """An image and the face in it that is compared.

    Attributes:
        name: Of the file.
        picture: The whole image.
        found: The faces found in it, the largest first; none if the image was taken as one.
        face: The face compared, the largest: (SHOWN, SHOWN), exactly the part that the network gets.
        pixels: The same as the network gets it (C, H, W).
        probabilities: Probability of every class by name.
    """

    name: str
    picture: Image.Image
    found: tuple[Prediction, ...]
    face: Image.Image
    pixels: Tensor
    probabilities: dict[str, float]

    @property
    def label(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


def look(
    model: CrossSimilarityNetwork,
    uploads: Sequence[Upload],
    detector: FaceDetector | None,
    *,
    crop: str = DEFAULT,
    device: torch.device | str = "cpu",
) -> list[Seen]:
    """Find and classify the face of each image.

    Args:
        model: The network.
        uploads: The images.
        detector: Finds the faces; None takes each image as one face that fills it.
        crop: How faces are cut out, see `qcs.faces.template`.
        device: Where to compute.

    Returns:
        What is seen in each, in order.

    Raises:
        InputError: If an image shows no face; names all such.

    Example:
        >>> import qcs
        >>> model = qcs.create_model("qcs_nano")
        >>> [seen] = look(model, [Upload("a.png", Image.new("RGB", (60, 70)))], detector=None)
        >>> seen.face.size, seen.pixels.shape, len(seen.probabilities)
        ((224, 224), torch.Size([3, 48, 48]), 7)
    """
    if detector is None:
        rows = classify(model, [upload.image for upload in uploads], device)
        return [_whole(model, upload, row) for upload, row in zip(uploads, rows, strict=True)]
    pictures = [Picture(upload.name, upload.image, Path(upload.name)) for upload in uploads]
    found = list(predict_faces(model, pictures, device, detector=detector, crop=crop))
    without = [shown.picture.path for shown in found if not shown.faces]
    if without:
        raise InputError(
            f"no face found in {', '.join(without)}; choose a photo with an upright face in full view, or say above "
            "that each image is a face already"
        )
    return [_in_picture(model, shown.picture, shown.faces, crop) for shown in found]


def comparison(
    model: CrossSimilarityNetwork, seen: Sequence[Seen], device: torch.device | str = "cpu"
) -> Comparison | None:
    """How the network compares the faces; None if there are fewer than two, or it is a base network, which does not."""
    if len(seen) < 2 or model.branches == 1:
        return None
    return compare(model, torch.stack([one.pixels for one in seen]).to(device))


def _whole(model: CrossSimilarityNetwork, upload: Upload, probabilities: dict[str, float]) -> Seen:
    """An image that is one face."""
    return _seen(model, upload.name, upload.image, (), lambda _: upload.image, probabilities)


def _in_picture(model: CrossSimilarityNetwork, picture: Picture, found: Sequence[Prediction], crop: str) -> Seen:
    """The first of the faces found in a picture."""
    largest = found[0].face
    assert largest is not None  # they were found
    cut = partial(align, picture.image, largest, crop=crop)
    return _seen(model, picture.path, picture.image, tuple(found), cut, found[0].probabilities)


def _seen(
    model: CrossSimilarityNetwork,
    name: str,
    picture: Image.Image,
    found: tuple[Prediction, ...],
    cut: Callable[[int], Image.Image],
    probabilities: dict[str, float],
) -> Seen:
    """The face that `cut` gives at the side wanted, for the network and for the eye."""
    config, side = resolve_model_data_config(model), face_side(model)
    # The same squeezing and center crop for the eye, but in more pixels and with the colors as they are.
    for_the_eye = {**config, "input_size": (3, SHOWN, SHOWN), "mean": (0, 0, 0), "std": (1, 1, 1)}
    colors = eval_transform(for_the_eye)(cut(round(side * SHOWN / min(config["input_size"][1:]))))
    face = Image.fromarray(colors.permute(1, 2, 0).mul(255).round().clamp(0, 255).to(torch.uint8).numpy())
    return Seen(name, picture, found, face, eval_transform(config)(cut(side)), probabilities)
