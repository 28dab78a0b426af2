"""Tiny videos of moving squares of noise, and a detector that finds them by their color; no extra but OpenCV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from qcs.faces import Faces, Picture

SIDE, SIZE = 60, (240, 120)
COLORS = ((255, 90, 90), (90, 255, 90))


def frame(*places: tuple[float, float] | None) -> Image.Image:
    """A frame with textured squares, the first reddish, the second greenish; None leaves one out."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 30, np.uint8)
    for number, place in enumerate(places):
        if place is not None:
            x, y = (round(value) for value in place)
            texture = np.random.default_rng(number).integers(40, 256, (SIDE // 6, SIDE // 6)).astype(np.uint8)
            square = np.asarray(Image.fromarray(texture).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
            pixels[y : y + SIDE, x : x + SIDE] = square[..., None] * np.array(COLORS[number]) // 255
    return Image.fromarray(pixels)


class ColorDetector:
    """Finds the squares; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: Image.Image) -> Faces:
        self.calls += 1
        pixels = np.asarray(image).astype(int)
        boxes = []
        for channel in (0, 1):
            rows, columns = np.nonzero(pixels[..., channel] > pixels[..., 1 - channel] + 15)
            if len(rows) > 200:
                boxes.append((columns.min(), rows.min(), columns.max(), rows.max()))
        found = np.array(boxes, float).reshape(-1, 4)
        share = np.array([(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)])
        landmarks = found[:, None, :2] + share * (found[:, None, 2:] - found[:, None, :2])
        return Faces(found, landmarks, np.full(len(found), 0.99)).largest_first()


def red_or_green(crops: list[Image.Image]) -> Faces:
    """Classify crops by the color of their middle."""
    rows = []
    for crop in crops:
        red, green, _ = np.asarray(crop).astype(float)[10:-10, 10:-10].mean((0, 1))
        rows.append((red / (red + green), green / (red + green)))
    return Faces(probabilities=np.array(rows).reshape(-1, 2), classes=("red", "green"))


def pictures(frames: list[Image.Image], path: str = "clip.mp4", rate: float = 10.0) -> list[Picture]:
    """The frames as they are read from a video."""
    return [Picture(path, image, Path(f"clip-{n}.png"), n, n / rate, rate) for n, image in enumerate(frames)]
