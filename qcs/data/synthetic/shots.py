"""Draw pose, glasses, light, background and camera of each image, independent of the expression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qcs.data.synthetic.canvas import Array
from qcs.data.synthetic.draws import Draws


@dataclass(frozen=True)
class Shots:
    """One row per image: numbers are (n, 1, 1), colors (n, 3, 1)."""

    roll: Array  # radians
    scale: Array
    shift_x: Array  # fraction of half the image width
    shift_y: Array
    yaw: Array  # shift of the nearest part of the face
    pitch: Array
    gaze: Array  # of the iris, to the right
    glasses: Array  # one where worn
    lens_round: Array  # from 0, square, to 1, round
    frame: Array
    light_x: Array  # unit vector toward the light
    light_y: Array
    light_z: Array
    contrast: Array  # fraction of directional light
    lamp: Array  # color and intensity of the light
    back: Array
    back_far: Array
    back_angle: Array
    blob: Array
    blob_x: Array
    blob_y: Array
    blob_radius: Array
    shirt: Array
    blur: Array  # fraction of half the image width
    noise: Array  # standard deviation, 0 to 1


_FRAMES = ((0.06, 0.06, 0.07), (0.30, 0.18, 0.10), (0.55, 0.12, 0.14), (0.72, 0.60, 0.30), (0.16, 0.22, 0.40))
_WARM = np.array([[1], [0], [-1]], dtype=np.float32)


def draw_shots(seed: int, count: int) -> Shots:
    """Draw `count` shots; each is independent of the number of shots."""
    draws = Draws(seed, "shots", count)
    across, down = draws.uniform(-0.75, 0.75), draws.uniform(-0.75, 0.20)
    length = np.sqrt(1 + across**2 + down**2)
    return Shots(
        roll=draws.normal(0, 0.12),
        scale=draws.normal(1.02, 0.05),
        shift_x=draws.normal(0, 0.05),
        shift_y=draws.normal(0.06, 0.04),
        yaw=draws.normal(0, 0.06),
        pitch=draws.normal(0, 0.02),
        gaze=draws.normal(0, 0.02),
        glasses=draws.chance(0.22),
        lens_round=draws.uniform(0.3, 1.0),
        frame=draws.choice(_FRAMES, (3, 2, 1, 1, 1)),
        light_x=across / length,
        light_y=down / length,
        light_z=1 / length,
        contrast=draws.uniform(0.35, 0.75),
        lamp=draws.uniform(0.85, 1.12) * (1 + _WARM * draws.normal(0, 0.03)),
        back=_color(draws),
        back_far=_color(draws),
        back_angle=draws.uniform(-np.pi, np.pi),
        blob=_color(draws),
        blob_x=draws.uniform(-1, 1),
        blob_y=draws.uniform(-1, 1),
        blob_radius=draws.uniform(0.3, 0.9),
        shirt=_color(draws),
        blur=draws.uniform(0.0, 0.04),
        noise=draws.uniform(0.005, 0.022),
    )


def _color(draws: Draws) -> Array:
    """Draw muted colors of any hue, (n, 3, 1)."""
    hue, strength, value = draws.uniform(0, 1), draws.uniform(0.05, 0.35), draws.uniform(0.45, 0.95)
    distance = np.abs((6 * hue + np.array([[0], [4], [2]], dtype=np.float32)) % 6 - 3) - 1
    return value * (1 - strength * (1 - np.clip(distance, 0, 1)))
