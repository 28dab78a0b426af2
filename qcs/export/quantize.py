"""Quantisation to 8-bit integers after training, by NNCF, with images that show how large activations get."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import Any

import torch
from timm.data import resolve_model_data_config
from torch import Tensor

from qcs.data import eval_transform, read
from qcs.errors import InputError
from qcs.models import CrossSimilarityNetwork

CALIBRATION_IMAGES = 300


def calibration_images(data: str, model: CrossSimilarityNetwork) -> Tensor:
    """Training images (N, C, H, W) as the model takes them, at most 300 chosen at random.

    Args:
        data: Anything that `qcs.data.read` takes; labels do not matter.
        model: The network; its `pretrained_cfg` says how images are prepared.

    Raises:
        InputError: If the data cannot be read or has no training images: test images must not shape what they test.
    """
    splits = read(data)
    images = splits.get("train", splits.get("all"))
    if images is None:
        raise InputError(f"{data} has no training images to calibrate with; it has the splits {', '.join(splits)}")
    images = images.with_transform(eval_transform(resolve_model_data_config(model)))
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:CALIBRATION_IMAGES]
    return torch.stack([images[index][0] for index in chosen.tolist()])


def quantize(model: Any, calibration: Tensor) -> Any:
    """An OpenVINO model with weights and activations of convolutions and linear layers in 8 bits.

    Args:
        model: The model in floating point.
        calibration: Images (N, C, H, W).
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    batches = [image[None].numpy() for image in calibration]
    with contextlib.redirect_stdout(io.StringIO()):  # progress bars
        return nncf.quantize(
            model, nncf.Dataset(batches), subset_size=len(batches), model_type=nncf.ModelType.TRANSFORMER
        )
