"""Find out with which crop template the faces of a dataset, or the training faces of a network, were cut out."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from qcs.data.dataset import LabeledImages
from qcs.faces.align_log import crop_of
from qcs.faces.alignment import CROPS, DEFAULT
from qcs.models.weights import read_config


def crop_of_images(images: LabeledImages) -> str | None:
    """Return the crop of images written by `qcs data align`; None if it did not write them, or with several crops."""
    folders = {os.path.dirname(image) for image in images.images if isinstance(image, str)}
    crops = {crop_of(Path(folder)) for folder in folders}
    return crops.pop() if len(crops) == 1 else None


def trained_crop(weights: str | Path) -> str | None:
    """Return the crop of the faces that weights were trained on; None if the file does not state it.

    Args:
        weights: A weights file.

    Raises:
        InputError: If `qcs.models.save_model` did not write the file.
    """
    stated = read_config(weights)["info"].get("crop")
    return stated if isinstance(stated, str) and stated in CROPS else None


def crop_to_predict(weights: str | Path, chosen: str | None) -> str:
    """Return the crop for prediction: the chosen one, otherwise that of the training, otherwise the default."""
    stated = trained_crop(weights)
    if chosen is not None and stated not in (None, chosen):
        warnings.warn(f"{weights} was trained with the crop {stated}, not {chosen}", stacklevel=2)
    return chosen or stated or DEFAULT


def warn_of_other_crop(weights: str | Path, images: LabeledImages, data: str) -> None:
    """Warn if images are known to have another crop than those that the weights were trained on."""
    stated, found = trained_crop(weights), crop_of_images(images)
    if None not in (stated, found) and stated != found:
        warnings.warn(
            f"{weights} was trained with the crop {stated}, the faces of {data} have the crop {found}", stacklevel=2
        )
