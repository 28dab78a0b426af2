"""Synthetic faces with known expressions and masks of the expressive regions, for demos and tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qcs.data.synthetic.canvas import Canvas
from qcs.data.synthetic.draws import stream, take
from qcs.data.synthetic.expressions import EXPRESSIONS, Expressions, draw_expressions
from qcs.data.synthetic.features import draw_features
from qcs.data.synthetic.head import background, draw_glasses, draw_head
from qcs.data.synthetic.people import People, draw_people
from qcs.data.synthetic.place import locate
from qcs.data.synthetic.shots import Shots, draw_shots
from qcs.errors import InputError

__all__ = ["EXPRESSIONS", "SyntheticFaces", "synthetic_faces"]

_PIXELS_AT_ONCE = 2**15  # so that the working set fits the cache of the processor


@dataclass(frozen=True)
class SyntheticFaces:
    """Synthetic faces with labels and masks of their expressive regions.

    Args:
        images: RGB images (N, S, S, 3).
        masks: Masks (N, S, S), true on brows, eyes, mouth and the wrinkles around the nose bridge.
        labels: Class indices (N,).
        identities: Index of the person, (N,); faces of one person share skin, hair, shape and proportions.
        glasses: Whether the face wears glasses, (N,).
        classes: Names of the expressions in index order.
    """

    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]
    identities: npt.NDArray[np.int64]
    glasses: npt.NDArray[np.bool_]
    classes: tuple[str, ...]


def synthetic_faces(count: int, *, size: int = 48, seed: int = 0, identities: int | None = None) -> SyntheticFaces:
    """Generate shaded faces that show one of seven expressions by brows, eyes, mouth and wrinkles only.

    The intensity varies from subtle to full and related expressions blend, so the classes overlap slightly. Person,
    glasses, pose, light, background, blur and noise are independent of the label. Class counts differ by at most one.
    Equal arguments give equal bytes; a larger `count` starts with the faces of a smaller one; another `size` gives the
    same faces with other noise.

    Args:
        count: Number of faces.
        size: Height and width in pixels, at least 16.
        seed: Seed, at least 0; different seeds have no person in common.
        identities: Number of people, repeated in order; None makes every face another person.

    Returns:
        The faces in shuffled order.

    Raises:
        InputError: An argument is out of its range.

    Example:
        >>> from qcs.data.synthetic import synthetic_faces
        >>> faces = synthetic_faces(14, identities=2)
        >>> faces.images.shape, faces.masks.shape
        ((14, 48, 48, 3), (14, 48, 48))
        >>> faces.classes[faces.labels[0]] in ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger")
        True
    """
    persons = count if identities is None else identities
    for name, value, least in (("count", count, 1), ("size", size, 16), ("seed", seed, 0), ("identities", persons, 1)):
        if value < least:
            raise InputError(f"synthetic_faces: {name} is {value}; expected at least {least}")

    labels = _balanced_labels(count, seed)
    who = np.arange(count, dtype=np.int64) % persons
    people, moves, shots = draw_people(seed, persons), draw_expressions(seed, labels), draw_shots(seed, count)
    images = np.empty((count, size, size, 3), dtype=np.uint8)
    masks = np.empty((count, size, size), dtype=np.bool_)
    grain = stream(seed, "grain")
    step = max(1, _PIXELS_AT_ONCE // size**2)
    for start in range(0, count, step):
        rows = slice(start, start + step)
        images[rows], masks[rows] = _draw(take(people, who[rows]), take(moves, rows), take(shots, rows), size, grain)
    return SyntheticFaces(images, masks, labels, who, shots.glasses[:, 0, 0] > 0, EXPRESSIONS)


def _balanced_labels(count: int, seed: int) -> npt.NDArray[np.int64]:
    """Shuffle every seven labels, one per class, so that any prefix of the set is balanced."""
    runs = stream(seed, "labels").random((-(-count // len(EXPRESSIONS)), len(EXPRESSIONS)))
    return np.argsort(runs, axis=1).reshape(-1)[:count]


def _draw(
    person: People, move: Expressions, shot: Shots, size: int, grain: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Draw images (B, S, S, 3) and masks (B, S, S) of a chunk of faces."""
    axis = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
    grid_x, grid_y = np.tile(axis, size)[None, None], np.repeat(axis, size)[None, None]
    place = locate(grid_x, grid_y, shot)
    canvas = Canvas(background(grid_x, grid_y, shot), edge=(2 / size + shot.blur) / shot.scale)
    draw_head(canvas, place, person, shot)
    mask = draw_features(canvas, place, person, move, shot)
    draw_glasses(canvas, place, person, shot)

    picture = canvas.color * canvas.light * shot.lamp
    picture += shot.noise * grain.standard_normal(picture.shape, dtype=np.float32)
    pixels = np.clip(255 * picture + 0.5, 0, 255).astype(np.uint8)
    return pixels.transpose(0, 2, 1).reshape(-1, size, size, 3), mask.reshape(-1, size, size)
