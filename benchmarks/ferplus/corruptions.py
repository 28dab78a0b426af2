"""Corrupt test images, in the same way for every network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional as TF

Pixels = npt.NDArray[np.uint8]

BLUR = 1.5  # standard deviation of the Gaussian, in pixels
NOISE = 25.0  # standard deviation, of 255
SQUARE = 1 / 3  # side, as a fraction of the image's side
LIGHT = 0.25  # fraction of the light that remains
MOUTH = 0.58  # where the cover of the mouth begins, as a fraction of the image's height
EYES = (0.25, 0.45)  # where the bar over the eyes begins and ends, likewise
GRAIN = 5.0  # standard deviation of the noise in low light, of 255


def blur(images: Pixels, random: np.random.Generator) -> Pixels:
    """Apply Gaussian blur."""
    reach = 2 * round(3 * BLUR) + 1
    return TF.gaussian_blur(torch.from_numpy(images), [reach, reach], [BLUR, BLUR]).numpy()


def noise(images: Pixels, random: np.random.Generator) -> Pixels:
    """Add independent Gaussian noise to every pixel."""
    return _eight_bit(images + NOISE * random.standard_normal(images.shape))


def occlusion(images: Pixels, random: np.random.Generator) -> Pixels:
    """Cover a mid-gray square at a random place inside the image."""
    side = round(SQUARE * images.shape[1])
    covered = images.copy()
    for image, (top, left) in zip(
        covered, random.integers(0, images.shape[1] - side + 1, (len(images), 2)), strict=True
    ):
        image[top : top + side, left : left + side] = 128
    return covered


def low_light(images: Pixels, random: np.random.Generator) -> Pixels:
    """Reduce the light and add the grain of low light."""
    return _eight_bit(LIGHT * images + GRAIN * random.standard_normal(images.shape))


def covered_mouth(images: Pixels, random: np.random.Generator) -> Pixels:
    """Cover everything below the nose, as a light medical mask does, with a shade of its own for each image."""
    top = round(MOUTH * images.shape[1])
    covered = images.copy()
    covered[:, top:] = random.integers(150, 240, (len(images), 1, 1))
    return covered


def covered_eyes(images: Pixels, random: np.random.Generator) -> Pixels:
    """Cover the eyes with a black bar over the whole width, as dark glasses or a censor do."""
    top, bottom = (round(each * images.shape[1]) for each in EYES)
    covered = images.copy()
    covered[:, top:bottom] = 0
    return covered


def foreign_patch(images: Pixels, random: np.random.Generator) -> Pixels:
    """Cover a square at a random place with the same place of another image."""
    side = round(SQUARE * images.shape[1])
    covered, others = images.copy(), images[random.permutation(len(images))]
    for image, other, (top, left) in zip(
        covered, others, random.integers(0, images.shape[1] - side + 1, (len(images), 2)), strict=True
    ):
        place = slice(top, top + side), slice(left, left + side)
        image[place] = other[place]
    return covered


CORRUPTIONS: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "blur": blur,
    "noise": noise,
    "occlusion": occlusion,
    "low light": low_light,
}
"""Corruptions by name; each takes grayscale images (n, S, S) and a random generator."""

SEVERITY: dict[str, str] = {
    "blur": f"Gaussian, {BLUR:g} pixels",
    "noise": f"Gaussian, {NOISE:g} of 255",
    "occlusion": f"a gray square, {SQUARE:.0%} of the side",
    "low light": f"{LIGHT:.0%} of the light, grain of {GRAIN:g} of 255",
}


OCCLUSIONS: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "covered mouth": covered_mouth,
    "covered eyes": covered_eyes,
    "patch of another face": foreign_patch,
}
"""Occlusions by name that no training here has seen: random erasing fills small rectangles with the mean color."""


def corrupted(images: Pixels, name: str) -> Pixels:
    """Return corrupted copies, the same each time."""
    each = {**CORRUPTIONS, **OCCLUSIONS}
    return each[name](images, np.random.default_rng(list(each).index(name)))


def _eight_bit(values: npt.NDArray[np.float64]) -> Pixels:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)
