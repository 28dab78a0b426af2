"""Define the movements of brows, lids and mouth by expression, after the Facial Action Coding System."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from qcs.data.synthetic.canvas import Array
from qcs.data.synthetic.draws import Draws

EXPRESSIONS: tuple[str, ...] = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger")


@dataclass(frozen=True)
class Expressions:
    """Movements relative to the neutral face, one row per face: (n, 1, 1) each, lengths in face units."""

    brow_inner: Array  # rise of the inner end
    brow_outer: Array  # rise of the outer end
    brow_arch: Array
    brow_pinch: Array  # shift of the inner ends toward each other
    lid_upper: Array  # opening of the upper lid
    lid_lower: Array  # opening of the lower lid; negative where the cheek pushes it up
    mouth_width: Array
    mouth_corner: Array  # rise of the corners
    mouth_open: Array
    mouth_round: Array  # from 0, almond, to 1, ellipse
    lip_raise: Array  # rise of the upper lip
    lip_press: Array  # fraction of the lips rolled in
    teeth_upper: Array  # visible height, if the mouth is open that far
    teeth_lower: Array
    wrinkle: Array  # across the nose bridge, 0 to 1
    frown: Array  # upright, between the brows, 0 to 1
    skew: Array  # how much more the face's left half in the picture moves than its right


# Movements at full intensity; others are zero.
_FULL: dict[str, dict[str, float]] = {
    "neutral": {},
    "happy": {
        "brow_inner": 0.01,
        "brow_outer": 0.01,
        "brow_arch": 0.02,
        "lid_upper": -0.01,
        "lid_lower": -0.05,
        "mouth_width": 0.11,
        "mouth_corner": 0.17,
        "mouth_open": 0.13,
        "mouth_round": 0.3,
        "lip_press": 0.2,
        "teeth_upper": 0.08,
    },
    "sad": {
        "brow_inner": 0.11,
        "brow_outer": -0.05,
        "brow_arch": -0.02,
        "brow_pinch": 0.02,
        "lid_upper": -0.04,
        "mouth_width": -0.03,
        "mouth_corner": -0.13,
        "frown": 0.2,
    },
    "surprise": {
        "brow_inner": 0.12,
        "brow_outer": 0.12,
        "brow_arch": 0.05,
        "lid_upper": 0.06,
        "lid_lower": 0.02,
        "mouth_width": -0.10,
        "mouth_open": 0.19,
        "mouth_round": 1.0,
        "lip_raise": 0.04,
        "lip_press": 0.1,
    },
    "fear": {
        "brow_inner": 0.14,
        "brow_outer": 0.03,
        "brow_arch": -0.04,
        "brow_pinch": 0.045,
        "lid_upper": 0.05,
        "lid_lower": 0.02,
        "mouth_width": 0.06,
        "mouth_corner": -0.06,
        "mouth_open": 0.10,
        "mouth_round": 0.8,
        "lip_raise": 0.02,
        "lip_press": 0.2,
        "teeth_upper": 0.03,
        "teeth_lower": 0.05,
        "frown": 0.3,
    },
    "disgust": {
        "brow_inner": -0.06,
        "brow_outer": -0.03,
        "brow_pinch": 0.02,
        "lid_upper": -0.03,
        "lid_lower": -0.03,
        "mouth_width": -0.02,
        "mouth_corner": -0.07,
        "mouth_open": 0.015,
        "mouth_round": 0.3,
        "lip_raise": 0.08,
        "teeth_upper": 0.06,
        "wrinkle": 1.0,
        "frown": 0.2,
    },
    "anger": {
        "brow_inner": -0.11,
        "brow_outer": 0.05,
        "brow_arch": -0.02,
        "brow_pinch": 0.05,
        "lid_upper": -0.03,
        "lid_lower": -0.02,
        "mouth_width": 0.02,
        "mouth_corner": -0.05,
        "mouth_round": 0.8,
        "lip_press": 0.5,
        "teeth_upper": 0.05,
        "teeth_lower": 0.05,
        "frown": 1.0,
    },
}

# Expression that is mixed into each expression: the one it is most often confused with.
_RELATED = {
    "neutral": "sad",
    "happy": "happy",
    "sad": "neutral",
    "surprise": "fear",
    "fear": "surprise",
    "disgust": "anger",
    "anger": "disgust",
}


def draw_expressions(seed: int, labels: npt.NDArray[np.int64]) -> Expressions:
    """Draw movements for `labels` (n,), from subtle to full intensity, with individual variation."""
    draws = Draws(seed, "expressions", len(labels))
    intensity, blend = draws.uniform(0.3, 1.0), draws.uniform(0, 0.35)
    shows = {name: (labels == index)[:, None, None] for index, name in enumerate(EXPRESSIONS)}

    moves = {}
    for name in (field.name for field in fields(Expressions)):
        pure = np.array([_FULL[label].get(name, 0) for label in EXPRESSIONS], dtype=np.float32)
        kin = np.array([_FULL[_RELATED[label]].get(name, 0) for label in EXPRESSIONS], dtype=np.float32)
        mixed = pure[labels, None, None] * (1 - blend) + kin[labels, None, None] * blend
        moves[name] = mixed * intensity * draws.normal(1.0, 0.2)
    for name, restless in (("brow_inner", 0.012), ("brow_outer", 0.012), ("mouth_corner", 0.012), ("lid_upper", 0.008)):
        moves[name] += draws.normal(0, restless)

    # Some smile with closed lips; anger either presses the lips or bares the teeth; disgust is often one-sided.
    moves["mouth_open"] *= 1 - shows["happy"] * draws.chance(0.3)
    snarl = shows["anger"] * draws.chance(0.5) * intensity
    for name, opening in (("mouth_open", 0.08), ("mouth_width", 0.05), ("lip_raise", 0.03)):
        moves[name] += opening * snarl
    moves["skew"] += draws.normal(0, 0.12) + shows["disgust"] * draws.uniform(-0.8, 0.8)
    return Expressions(**moves)
