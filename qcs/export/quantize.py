"""Quantize to 8-bit integers after training, calibrated on images: OpenVINO by NNCF, ONNX by ONNX Runtime."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from timm.data import resolve_model_data_config
from torch import Tensor

from qcs.data import eval_transform, read
from qcs.errors import InputError
from qcs.imports import onnxruntime
from qcs.models import Classifier

if TYPE_CHECKING:
    from openvino import Model

CALIBRATION_IMAGES = 300
CALIBRATION_BATCH = 50


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


def quantize_openvino(model: Model, calibration: Tensor) -> Model:
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


def quantize_onnx(source: Path, path: Path, calibration: Tensor) -> None:
    """Quantize weights and activations of convolutions and linear layers of an ONNX file to 8 bits; metadata stay.

    Weights get one bit less: processors without VNNI instructions add pairs of products in 16 bits, which could
    overflow.

    Args:
        source: The file in floating point.
        path: The file to write.
        calibration: Preprocessed images (N, C, H, W).
    """
    onnxruntime()
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches: Iterator[Tensor] = iter(torch.split(calibration, CALIBRATION_BATCH))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch.numpy()}

    with _without_warnings():
        quantization.quantize_static(
            source,
            path,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
        )


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Drop warnings of the root logger: ONNX Runtime advises an optimization that the exporter has done."""
    logger, before = logging.getLogger(), logging.getLogger().level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
