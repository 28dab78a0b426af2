"""How the faces that a network is trained on are cut out: said, or known by their log, and kept with the weights."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from qcs.data.dataset import LabeledImages
from qcs.faces.align_log import crop_of
from qcs.faces.alignment import CROPS, DEFAULT
from qcs.models.weights import read_config


def crop_of_images(images: LabeledImages) -> str | None:
    """The crop of images that `qcs data align` wrote; None where it did not, or not all of them alike."""
    folders = {os.path.dirname(image) for image in images.images if isinstance(image, str)}
    crops = {crop_of(Path(folder)) for folder in folders}
    return crops.pop() if len(crops) == 1 else None


def trained_crop(weights: str | Path) -> str | None:
    """The crop of the faces that weights were trained on; None where their file does not say.

    Args:
        weights: A weights file.

    Raises:
        InputError: If it is not one that `qcs.models.save_model` wrote.
    """
    stated = read_config(weights)["info"].get("crop")
    return stated if isinstance(stated, str) and stated in CROPS else None


def crop_to_predict(weights: str | Path, chosen: str | None) -> str:
    """The crop to show a network: the one chosen, else that of its training, else the default."""
    stated = trained_crop(weights)
    if chosen is not None and stated not in (None, chosen):
        warnings.warn(f"{weights} was trained on faces cut out as {stated}, not as {chosen}", stacklevel=2)
    return chosen or stated or DEFAULT


def warn_of_other_crop(weights: str | Path, images: LabeledImages, data: str) -> None:
    """Warns where images are known to be cut out otherwise than those that the weights were trained on."""
    stated, found = trained_crop(weights), crop_of_images(images)
    if None not in (stated, found) and stated != found:
        warnings.warn(
            f"{weights} was trained on faces cut out as {stated}, those of {data} are cut out as {found}", stacklevel=2
        )
