"""Post-training quantization to 8-bit integers by NNCF, calibrated on images."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import TYPE_CHECKING

import torch
from timm.data import resolve_model_data_config
from torch import Tensor

from qcs.data import eval_transform, read
from qcs.errors import InputError
from qcs.models import Classifier

if TYPE_CHECKING:
    from openvino import Model

CALIBRATION_IMAGES = 300


def calibration_images(data: str, model: Classifier) -> Tensor:
    """Load calibration images (N, C, H, W), preprocessed for a network: at most 300 random training images.

    Args:
        data: Archive, folder or list file, see `qcs.data.read`; labels are ignored.
        model: The network; its `pretrained_cfg` holds the preprocessing.

    Raises:
        InputError: If the data cannot be read or has no training images: test images must not influence the network.
    """
    splits = read(data)
    images = splits.get("train", splits.get("all"))
    if images is None:
        raise InputError(f"{data} has no training images to calibrate with; it has the splits {', '.join(splits)}")
    images = images.with_transform(eval_transform(resolve_model_data_config(model)))
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:CALIBRATION_IMAGES]
    return torch.stack([images[index][0] for index in chosen.tolist()])


def quantize(model: Model, calibration: Tensor) -> Model:
    """Quantize weights and activations of convolutions and linear layers to 8 bits.

    Args:
        model: The model in floating point.
        calibration: Preprocessed images (N, C, H, W).
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    batches = [image[None].numpy() for image in calibration]
    with contextlib.redirect_stdout(io.StringIO()):  # progress bars
        return nncf.quantize(
            model, nncf.Dataset(batches), subset_size=len(batches), model_type=nncf.ModelType.TRANSFORMER
        )
