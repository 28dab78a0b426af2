"""Move faces from one frame to the next by sparse optical flow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from qcs.imports import require

Floats = npt.NDArray[np.floating[Any]]

SIDE = 640  # pixels: larger frames are reduced for the flow
POINTS = 7  # per row and column of a face
LEAST = 0.3  # share of the points that must move like the face
OFF = 1.0  # pixels that a point may be off after following it forth and back


class Motion:
    """Follow the places of faces from frame to frame.

    Points on each face are followed by pyramidal Lucas-Kanade optical flow, forth and back; the similarity transform
    that most of them share moves box and landmarks. Bouguet, "Pyramidal implementation of the affine Lucas Kanade
    feature tracker", Intel (2001); Kalal et al., "Forward-backward error", ICPR 2010.

    Raises:
        InputError: If OpenCV is missing.
    """

    def __init__(self) -> None:
        require("cv2", extra="faces", purpose="tracking faces in a video")
        self._before: npt.NDArray[np.uint8] | None = None
        self._now: npt.NDArray[np.uint8] | None = None
        self._factor = 1

    def see(self, image: Image.Image) -> None:
        """Take the next frame; a frame of another size begins anew."""
        self._factor = max(1, round(max(image.size) / SIDE))
        gray = np.asarray(image.convert("L").reduce(self._factor))
        same = self._now is not None and self._now.shape == gray.shape
        self._before, self._now = self._now if same else None, gray

    def __call__(self, boxes: Floats, landmarks: Floats) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
        """Return where faces of the frame before are in this one.

        Args:
            boxes: Boxes (n, 4) in the frame before.
            landmarks: Landmarks (n, 5, 2) in the frame before.

        Returns:
            Boxes (n, 4), landmarks (n, 5, 2), and whether each face could be followed (n,); others stay where they are.
        """
        import cv2

        boxes, landmarks = np.array(boxes, np.float64), np.array(landmarks, np.float64)
        followed = np.zeros(len(boxes), bool)
        if self._before is None or self._now is None or not len(boxes):
            return boxes, landmarks, followed
        points = (_grid(boxes) / self._factor).astype(np.float32)  # (n, p, 2)
        flat = points.reshape(-1, 1, 2)
        options: dict[str, Any] = {"winSize": (15, 15), "maxLevel": 3}
        ahead, found, _ = cv2.calcOpticalFlowPyrLK(self._before, self._now, flat, None, **options)
        back, returned, _ = cv2.calcOpticalFlowPyrLK(self._now, self._before, ahead, None, **options)
        off = np.abs(back - flat).reshape(len(boxes), -1, 2).max(-1)
        good = (off <= OFF) & (found & returned).astype(bool).reshape(len(boxes), -1)
        moved = ahead.reshape(points.shape)
        for face in range(len(boxes)):
            matrix = _shared(points[face][good[face]], moved[face][good[face]], points.shape[1])
            if matrix is not None:
                followed[face] = True
                matrix[:, 2] *= self._factor
                boxes[face] = _moved_box(boxes[face], matrix)
                landmarks[face] = landmarks[face] @ matrix[:, :2].T + matrix[:, 2]
        return boxes, landmarks, followed


def _grid(boxes: Floats) -> Floats:
    """Return points (n, POINTS², 2) in the inner part of boxes."""
    steps = np.linspace(0.15, 0.85, POINTS)
    share = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    grid: Floats = boxes[:, None, :2] + share * (boxes[:, None, 2:] - boxes[:, None, :2])
    return grid


def _shared(source: Floats, target: Floats, asked: int) -> Floats | None:
    """Return the similarity transform (2, 3) that most points share; None if too few do."""
    import cv2

    least = max(4, LEAST * asked)
    if len(source) < least:
        return None
    matrix, inside = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=1.5)
    if matrix is None or inside.sum() < least or not 0.7 < np.hypot(matrix[0, 0], matrix[1, 0]) < 1.4:
        return None
    return np.array(matrix, np.float64)


def _moved_box(box: Floats, matrix: Floats) -> Floats:
    center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * np.hypot(matrix[0, 0], matrix[1, 0])
    moved = matrix[:, :2] @ center + matrix[:, 2]
    return np.concatenate([moved - half, moved + half])
