"""Draw the attributes of people, which all faces of a person share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qcs.data.synthetic.canvas import Array
from qcs.data.synthetic.draws import Draws

# Red, green, blue from 0 to 1. Skin ranges from the darkest to the lightest human tones.
_SKIN = np.array(
    [
        (0.36, 0.23, 0.17),
        (0.47, 0.31, 0.22),
        (0.60, 0.41, 0.29),
        (0.73, 0.53, 0.39),
        (0.81, 0.61, 0.47),
        (0.91, 0.73, 0.60),
        (0.97, 0.83, 0.74),
    ]
)
_HAIR = (
    (0.07, 0.06, 0.07),
    (0.17, 0.11, 0.08),
    (0.30, 0.18, 0.11),
    (0.45, 0.22, 0.12),
    (0.68, 0.33, 0.15),
    (0.83, 0.66, 0.36),
    (0.62, 0.61, 0.61),
)
_HAIR_WEIGHTS = (4, 4, 3, 1, 1, 2, 1.5)
_IRIS = ((0.26, 0.15, 0.08), (0.42, 0.26, 0.11), (0.28, 0.42, 0.26), (0.25, 0.45, 0.66), (0.42, 0.48, 0.52))
_IRIS_WEIGHTS = (4, 3, 1, 1.5, 1)

# Thickness on top and aside, end behind the head, hairline, its fall toward the ears and tilt, curl, bun, opacity.
_STYLES = (
    (0.00, 0.00, -1.0, -0.95, 0.00, 0.00, 0.0, 0.0, 0.0),  # bald
    (0.03, 0.02, -1.0, -0.60, 0.50, 0.00, 0.0, 0.0, 0.7),  # cropped
    (0.11, 0.04, -1.0, -0.57, 0.50, 0.00, 0.3, 0.0, 1.0),  # short
    (0.13, 0.05, -1.0, -0.54, 0.45, 0.28, 0.1, 0.0, 1.0),  # parted
    (0.09, 0.06, -1.0, -0.43, 0.50, 0.00, 0.2, 0.0, 1.0),  # fringe
    (0.10, 0.12, 0.62, -0.55, 0.95, 0.16, 0.0, 0.0, 1.0),  # bob
    (0.09, 0.11, 1.60, -0.60, 1.30, 0.00, 0.0, 0.0, 1.0),  # long
    (0.20, 0.24, -1.0, -0.58, 0.50, 0.00, 1.0, 0.0, 1.0),  # curls
    (0.06, 0.02, -1.0, -0.60, 0.45, 0.00, 0.0, 1.0, 1.0),  # bun
)
_STYLE_WEIGHTS = (1, 1.5, 2.5, 2, 2, 2, 2.5, 2, 1.5)


@dataclass(frozen=True)
class People:
    """One row per person; lengths in face units (the head is about 1.75 high), y pointing down."""

    skin: Array  # (n, 3, 1), as are all colors
    lips: Array
    hair: Array
    iris: Array
    blush: Array
    head_width: Array  # (n, 1, 1), as are all numbers
    head_top: Array
    chin: Array
    taper: Array
    ear: Array
    hair_top: Array
    hair_side: Array
    hair_length: Array
    hairline: Array
    hair_fall: Array
    hair_tilt: Array
    hair_curl: Array
    hair_bun: Array
    hair_opacity: Array
    beard: Array
    mustache: Array
    eye_x: Array
    eye_y: Array
    eye_width: Array
    eye_tilt: Array
    lid_upper: Array
    lid_lower: Array
    iris_radius: Array
    brow_y: Array
    brow_slope: Array
    brow_arch: Array
    brow_thickness: Array
    brow_length: Array
    nose_width: Array
    nose_y: Array
    mouth_y: Array
    mouth_width: Array
    mouth_corner: Array
    lip_upper: Array
    lip_lower: Array


def draw_people(seed: int, count: int) -> People:
    """Draw `count` people; each is independent of the number of people."""
    draws = Draws(seed, "people", count)
    tone = draws.uniform(0, len(_SKIN) - 1)
    skin = _interpolate(_SKIN, tone) * (1 + np.array([[1.0], [0.0], [-1.0]]) * draws.normal(0, 0.025))
    lips = skin * np.array([[0.86], [0.60], [0.60]]) + draws.uniform(0, 0.10) * np.array([[1.4], [0.1], [0.3]])
    hair = draws.choice(_HAIR, _HAIR_WEIGHTS)
    # Light hair on dark skin is rare, and would make brows lighter than the face.
    hair = np.where(hair.max(axis=1, keepdims=True) > skin.max(axis=1, keepdims=True), 0.25 * hair, hair)
    top, side, length, line, fall, tilt, curl, bun, opacity = np.split(draws.choice(_STYLES, _STYLE_WEIGHTS), 9, axis=1)
    bearded = draws.chance(0.18) * (length < 0)
    columns = {
        "skin": np.clip(skin, 0, 1),
        "lips": np.clip(lips, 0, 1),
        "hair": np.clip(hair * draws.uniform(0.8, 1.2), 0, 1),
        "iris": np.where(tone < 3 * draws.chance(0.95), np.array(_IRIS[:1]).T, draws.choice(_IRIS, _IRIS_WEIGHTS)),
        "blush": draws.uniform(0.0, 0.35),
        "head_width": draws.normal(0.70, 0.03),
        "head_top": draws.normal(0.86, 0.02),
        "chin": draws.normal(0.90, 0.03),
        "taper": draws.uniform(-0.06, 0.20),
        "ear": draws.normal(0.16, 0.015),
        "hair_top": top * draws.uniform(0.8, 1.25),
        "hair_side": side * draws.uniform(0.8, 1.25),
        "hair_length": length + draws.uniform(-0.1, 0.1),
        "hairline": line + draws.uniform(-0.05, 0.03),
        "hair_fall": fall * draws.uniform(0.85, 1.15),
        "hair_tilt": tilt * (2 * draws.chance(0.5) - 1),
        "hair_curl": curl,
        "hair_bun": bun,
        "hair_opacity": opacity,
        "beard": bearded * draws.uniform(0.35, 0.95),
        "mustache": bearded * draws.chance(0.7),
        "eye_x": draws.normal(0.31, 0.015),
        "eye_y": draws.normal(-0.06, 0.015),
        "eye_width": draws.normal(0.200, 0.012),
        "eye_tilt": draws.normal(0.010, 0.012),
        "lid_upper": draws.normal(0.112, 0.012),
        "lid_lower": draws.normal(0.072, 0.006),
        "iris_radius": draws.normal(0.106, 0.005),
        "brow_y": draws.normal(-0.310, 0.018),
        "brow_slope": draws.normal(0.010, 0.014),
        "brow_arch": draws.normal(0.045, 0.014),
        "brow_thickness": draws.uniform(0.022, 0.042),
        "brow_length": draws.normal(0.200, 0.014),
        "nose_width": draws.normal(0.140, 0.020),
        "nose_y": draws.normal(0.250, 0.020),
        "mouth_y": draws.normal(0.500, 0.020),
        "mouth_width": draws.normal(0.260, 0.020),
        "mouth_corner": draws.normal(0.005, 0.014),
        "lip_upper": draws.uniform(0.035, 0.065),
        "lip_lower": draws.uniform(0.050, 0.085),
    }
    return People(**{name: column.astype(np.float32) for name, column in columns.items()})


def _interpolate(palette: np.ndarray, position: Array) -> np.ndarray:
    """Interpolate the `palette` (M, 3) at `position` (n, 1, 1); returns (n, 3, 1)."""
    steps = np.arange(len(palette))
    return np.stack([np.interp(position[:, 0], steps, channel) for channel in palette.T], axis=1)
