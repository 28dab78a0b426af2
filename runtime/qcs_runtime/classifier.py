"""Classify cropped faces with ONNX Runtime; the file of the network says how to prepare them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from qcs.data.images import ImageLike, as_image
from qcs.errors import InputError, check_choice
from qcs.imports import onnxruntime

Floats = npt.NDArray[np.float32]

PRECISIONS = ("fp32", "int8")
BATCH = 64  # faces per call of the network, as in qcs
WEIGHTS = Path(__file__).with_name("weights")


class Classifier:
    """The shipped network of qcs.

    Attributes:
        classes: Class names in index order.
        crop: Crop template of the training faces, see `qcs_runtime.align`.
        side: Side in pixels of the crops that it expects; others are resized.

    Args:
        precision: `"fp32"`, the probabilities of PyTorch up to rounding; or `"int8"`, a file of a quarter of the size
            and close probabilities.
        threads: Threads of a call; None is one per core.

    Raises:
        InputError: If the precision is unknown, `threads` is less than 1, or the package was not built.

    Example:
        >>> classifier = Classifier()
        >>> classifier([Image.new("L", (48, 48))]).shape
        (1, 8)
    """

    def __init__(self, precision: str = "fp32", threads: int | None = None) -> None:
        check_choice("precision", precision, PRECISIONS)
        if threads is not None and threads < 1:
            raise InputError(f"threads is {threads}; expected at least 1, or None for one per core")
        path = WEIGHTS / f"{precision}.onnx"
        if not path.is_file():
            raise InputError(f"there is no {path}; install the wheel that 'pip wheel --no-deps ./runtime' builds")
        runtime = onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self._session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._about: dict[str, Any] = json.loads(self._session.get_modelmeta().custom_metadata_map["qcs"])
        self.classes: tuple[str, ...] = tuple(self._about["class_names"])
        self.crop: str = self._about["face_crop"]
        self.side: int = min(self._about["resize"])

    def __call__(self, crops: Sequence[ImageLike]) -> Floats:
        """Classify faces.

        Args:
            crops: Images that each show one cropped face: paths, bytes, arrays or images of Pillow.

        Returns:
            Probabilities (n, K); each row sums to 1.

        Raises:
            InputError: If one cannot be read.
        """
        rows = [np.empty((0, len(self.classes)), np.float32)]
        for start in range(0, len(crops), BATCH):
            inputs = np.stack([prepare(as_image(crop), self._about) for crop in crops[start : start + BATCH]])
            rows.append(_softmax(self._session.run(None, {"images": inputs})[0]))
        return np.concatenate(rows)


def prepare(image: Image.Image, about: Mapping[str, Any]) -> Floats:
    """Return the network input (C, H, W) for a face, float32: resized, center-cropped, normalized.

    Args:
        image: The face, grayscale ("L") or color ("RGB").
        about: Metadata of the network, see `qcs.export.Loaded`.
    """
    (_, height, width), (tall, wide) = about["input_size"], about["resize"]
    left, top = round((wide - width) / 2), round((tall - height) / 2)
    resized = image.convert(about["mode"]).resize((wide, tall), Image.Resampling[about["interpolation"].upper()])
    pixels = np.asarray(resized.crop((left, top, left + width, top + height)), np.float32).reshape(height, width, -1)
    mean, std = 255 * np.float32(about["mean"]), 255 * np.float32(about["std"])
    prepared: Floats = ((pixels - mean) / std).transpose(2, 0, 1)
    return prepared


def _softmax(logits: Floats) -> Floats:
    odds = np.exp(logits - logits.max(1, keepdims=True))
    probabilities: Floats = odds / odds.sum(1, keepdims=True)
    return probabilities
