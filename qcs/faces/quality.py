"""Say why the expression of a face cannot be predicted: too small, blurred, turned away, or cut off at the edge.

Needs NumPy and Pillow, no PyTorch. Hands, masks and glasses are not detected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from qcs.faces.alignment import DEFAULT, align, similarity, template
from qcs.faces.face import Face

SIDE = 48  # pixels of the crop that the sharpness is measured in


@dataclass(frozen=True)
class QualityGate:
    """Return the doubts about a face: a sentence for each measure that is beyond its limit.

    The limits of size and sharpness are those at which the accuracy on reduced or blurred FERPlus validation images is
    at most ten points lower (docs/reliability.md); those of turn and cut are chosen, not measured.

    Attributes:
        least_height: Pixels of the picture that the face is high.
        least_sharpness: See `sharpness`.
        most_turn: See `turn`.
        most_cut: See `cut`.

    Example:
        >>> face = Face((20, 30, 36, 48), ((24, 37), (32, 37), (28, 41), (25, 44), (31, 44)), 0.99)
        >>> noise = np.random.default_rng(0).integers(0, 256, (100, 100), np.uint8)
        >>> QualityGate()(Image.fromarray(noise), face)
        ['the face is 18 pixels high, fewer than 24']
    """

    least_height: float = 24
    least_sharpness: float = 0.03
    most_turn: float = 0.35
    most_cut: float = 0.2

    def __call__(self, image: Image.Image, face: Face, crop: str = DEFAULT) -> list[str]:
        """Return why the expression of a face in an image cannot be predicted; empty if nothing speaks against it.

        Args:
            image: The whole image.
            face: The face; one without landmarks is the whole image.
            crop: Crop template, see `qcs.faces.template`.

        Raises:
            InputError: If the landmarks are not those of a face.
        """
        doubts = []
        high = image.height if face.box is None else face.box[3] - face.box[1]
        if high < self.least_height:
            doubts.append(f"the face is {high:.0f} pixels high, fewer than {self.least_height:g}")
        aligned = image.resize((SIDE, SIDE)) if face.landmarks is None else align(image, face, SIDE, crop)
        if (found := sharpness(aligned)) < self.least_sharpness:
            doubts.append(f"the face is blurred: sharpness {found:.4f}, less than {self.least_sharpness:g}")
        if face.landmarks is None:
            return doubts
        if (found := turn(face, crop)) > self.most_turn:
            doubts.append(f"the head is turned: by {found:.2f} eye distances, more than {self.most_turn:g}")
        if (found := cut(image, face, crop)) > self.most_cut:
            doubts.append(f"the edge of the picture cuts off {found:.0%} of the face, more than {self.most_cut:.0%}")
        return doubts


def sharpness(face: Image.Image) -> float:
    """Return the variance of the Laplacian of an aligned face relative to the variance of its gray levels.

    Contrast and brightness do not change it. A face of one gray level has 0.

    Example:
        >>> sharpness(Image.new("L", (48, 48), 90))
        0.0
    """
    gray = np.asarray(face.convert("L"), np.float64)
    laplacian = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * gray[1:-1, 1:-1]
    spread = gray.var()
    return float(laplacian.var() / spread) if spread else 0.0


def turn(face: Face, crop: str = DEFAULT) -> float:
    """Return how far the nose is beside the middle of eyes and mouth, in eye distances; 0 for a face from the front.

    Example:
        >>> turn(Face(landmarks=((80, 90), (120, 90), (100, 110), (85, 130), (115, 130))))
        0.0
    """
    matrix = similarity(face.landmarks or (), template(crop))
    upright = np.array(face.landmarks) @ matrix[:, :2].T + matrix[:, 2]
    middle = upright[[0, 1, 3, 4], 0].mean()
    distance = np.hypot(*(upright[1] - upright[0]))
    return float(abs(upright[2, 0] - middle) / max(distance, 1e-9))


def cut(image: Image.Image, face: Face, crop: str = DEFAULT) -> float:
    """Return the share of the aligned face that is beyond the edge of the picture, in [0, 1]."""
    inside = align(Image.new("L", image.size, 255), face, SIDE, crop)
    return float(1 - np.asarray(inside, np.float64).mean() / 255)
