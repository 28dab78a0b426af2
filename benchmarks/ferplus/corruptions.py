"""Damaged copies of test images: the same damage for every network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional as TF

Pixels = npt.NDArray[np.uint8]

BLUR = 1.5  # deviation of the Gaussian, in pixels
NOISE = 25.0  # deviation, of 255
SQUARE = 1 / 3  # side, of the image's
LIGHT = 0.25  # share of the light that is left
GRAIN = 5.0  # deviation of the noise in low light, of 255


def blur(images: Pixels, random: np.random.Generator) -> Pixels:
    """Gaussian blur."""
    reach = 2 * round(3 * BLUR) + 1
    return TF.gaussian_blur(torch.from_numpy(images), [reach, reach], [BLUR, BLUR]).numpy()


def noise(images: Pixels, random: np.random.Generator) -> Pixels:
    """Independent Gaussian noise in every pixel."""
    return _eight_bit(images + NOISE * random.standard_normal(images.shape))


def occlusion(images: Pixels, random: np.random.Generator) -> Pixels:
    """A mid-grey square anywhere inside."""
    side = round(SQUARE * images.shape[1])
    covered = images.copy()
    for image, (top, left) in zip(
        covered, random.integers(0, images.shape[1] - side + 1, (len(images), 2)), strict=True
    ):
        image[top : top + side, left : left + side] = 128
    return covered


def low_light(images: Pixels, random: np.random.Generator) -> Pixels:
    """Little light, and the grain that comes with it."""
    return _eight_bit(LIGHT * images + GRAIN * random.standard_normal(images.shape))


CORRUPTIONS: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "blur": blur,
    "noise": noise,
    "occlusion": occlusion,
    "low light": low_light,
}
"""By name: grey images (n, S, S) and a source of randomness to damaged images."""

SEVERITY: dict[str, str] = {
    "blur": f"Gaussian, {BLUR:g} pixels",
    "noise": f"Gaussian, {NOISE:g} of 255",
    "occlusion": f"a grey square, {SQUARE:.0%} of the side",
    "low light": f"{LIGHT:.0%} of the light, grain of {GRAIN:g} of 255",
}


def corrupted(images: Pixels, name: str) -> Pixels:
    """The damaged copies, the same each time."""
    return CORRUPTIONS[name](images, np.random.default_rng(list(CORRUPTIONS).index(name)))


def _eight_bit(values: npt.NDArray[np.float64]) -> Pixels:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)
