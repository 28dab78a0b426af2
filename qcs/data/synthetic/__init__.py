"""Drawn faces of known expression, and where on them it shows: for demos and tests that need no outside data."""

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

_PIXELS_AT_ONCE = 2**15  # a chunk's working set should stay within the processor's cache


@dataclass(frozen=True)
class SyntheticFaces:
    """Labeled faces, and the ground truth of where their expression shows.

    Args:
        images: (N, S, S, 3), RGB.
        masks: (N, S, S), true on brows, eyes and mouth, and on wrinkles about the nose bridge.
        labels: (N,), positions in `classes`.
        identities: (N,), from 0; faces of one number share skin, hair, shape and proportions.
        glasses: (N,), true where glasses are worn.
        classes: names of the expressions.
    """

    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]
    identities: npt.NDArray[np.int64]
    glasses: npt.NDArray[np.bool_]
    classes: tuple[str, ...]


def synthetic_faces(count: int, *, size: int = 48, seed: int = 0, identities: int | None = None) -> SyntheticFaces:
    """Draws shaded faces whose brows, eyes and mouth alone tell one of seven expressions.

    Intensity runs from subtle to full and related expressions blend, so the classes overlap a little. Person, glasses,
    pose, light, background, blur and noise vary freely and say nothing about the label. No class is more than one face
    ahead of another. The same arguments give the same bytes, a larger `count` begins with the faces of a smaller one,
    and another `size` pictures the same faces under other noise.

    Args:
        count: number of faces.
        size: height and width in pixels, from 16.
        seed: from 0; sets of different seeds have no person in common.
        identities: number of persons, who take turns; by default every face is another person.

    Returns:
        The faces in shuffled order.

    Raises:
        InputError: if an argument is out of its range.

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
            raise InputError(f"synthetic_faces: {name} is {value}, but must be at least {least}")

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
    """Every run of seven holds every class once, so that any first part of the set is balanced too."""
    runs = stream(seed, "labels").random((-(-count // len(EXPRESSIONS)), len(EXPRESSIONS)))
    return np.argsort(runs, axis=1).reshape(-1)[:count]


def _draw(
    person: People, move: Expressions, shot: Shots, size: int, grain: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Pictures (B, S, S, 3) and masks (B, S, S) of one chunk of faces."""
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
