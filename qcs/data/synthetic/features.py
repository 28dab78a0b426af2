"""Draw the parts that show the expression: brows, eyes, mouth and wrinkles around the nose bridge."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qcs.data.synthetic.canvas import Array, Canvas, between, bump, ellipse
from qcs.data.synthetic.expressions import Expressions
from qcs.data.synthetic.people import People
from qcs.data.synthetic.place import Place
from qcs.data.synthetic.shots import Shots

Mask = npt.NDArray[np.bool_]

_MARGIN = 0.02  # of the mask beyond the outlines, in face units


def _color(red: float, green: float, blue: float) -> Array:
    return np.array([[red], [green], [blue]], dtype=np.float32)


_WHITE = _color(0.95, 0.95, 0.94)
_LASH = _color(0.09, 0.06, 0.06)
_THROAT = _color(0.22, 0.05, 0.06)
_TONGUE = _color(0.80, 0.36, 0.36)
_TEETH = _color(0.97, 0.95, 0.91)


def draw_features(canvas: Canvas, place: Place, person: People, move: Expressions, shot: Shots) -> Mask:
    """Draw the features and return their mask (B, 1, P)."""
    strength = 1 - move.skew * np.clip(4 * place.face_x, -1, 1)  # of this half of the face
    mask = _wrinkles(canvas, place, person, move)
    mask |= _eyes(canvas, place, person, move, shot)
    mask |= _brows(canvas, place, person, move, strength)
    mask |= _mouth(canvas, place, person, move, strength)
    return mask


def _wrinkles(canvas: Canvas, place: Place, person: People, move: Expressions) -> Mask:
    """Draw horizontal folds on the nose bridge and vertical folds between the brows."""
    y = place.face_y - person.eye_y
    bridge = move.wrinkle * bump(place.side / 0.17, (y - 0.07) / 0.19)
    folds = np.sin((y - 2.5 * np.square(place.side)) * (2 * np.pi / 0.08))
    canvas.shade(0.55 * np.minimum(1.6 * bridge, 1) * np.clip(folds + 0.1, -0.4, 1))
    frown = move.frown * bump((place.side - 0.045) / 0.035, (place.face_y - person.brow_y - 0.05) / 0.13)
    canvas.shade(0.45 * frown)
    return (bridge > 0.15) | (frown > 0.15)


def _brows(canvas: Canvas, place: Place, person: People, move: Expressions, strength: Array) -> Mask:
    """Draw tapered brows whose ends move separately."""
    length = 2 * person.brow_length + move.brow_pinch
    along = (place.side - person.eye_x + person.brow_length - 0.01 + move.brow_pinch) / length  # 0 inner, 1 outer end
    inner = person.brow_y + person.brow_slope - move.brow_inner * strength
    outer = person.brow_y - person.brow_slope - move.brow_outer * strength
    arch = 4 * (person.brow_arch + move.brow_arch) * along * (1 - along)
    thickness = person.brow_thickness * np.clip(1.15 - 0.75 * np.square(along), 0.2, 1.2)
    brow = np.abs(place.face_y - inner - (outer - inner) * along + arch) - thickness
    brow = np.maximum(brow, (np.abs(along - 0.5) - 0.5) * length)
    canvas.paint(0.75 * person.hair, 0.92 * canvas.coverage(brow))
    return brow < _MARGIN


def _eyes(canvas: Canvas, place: Place, person: People, move: Expressions, shot: Shots) -> Mask:
    """Draw eyeballs between two lids, with lashes, lower rim and crease."""
    x, y = place.side - person.eye_x, place.face_y - person.eye_y
    across = x / person.eye_width  # -1 to 1 from corner to corner
    ends = (np.abs(across - 0.04) - 1.04) * person.eye_width
    profile, tilt = 1 - np.square(across), person.eye_tilt * across
    upper = -(person.lid_upper + move.lid_upper) * profile - tilt
    lower = np.maximum((person.lid_lower + move.lid_lower) * profile - tilt, upper + 0.012)
    eye = np.maximum(between(y, upper, lower), ends)
    _eyeballs(canvas, canvas.coverage(eye), place, person, shot, y - upper)

    lash = np.maximum(np.abs(y - upper + 0.006) - 0.015 - 0.006 * across, ends)
    canvas.paint(_LASH, 0.9 * canvas.coverage(lash))
    rim = np.abs(y - lower - 0.006) - 0.007
    canvas.shade(0.35 * canvas.coverage(np.maximum(rim, ends)))
    crease = np.abs(y - 0.9 * upper + 0.06) - 0.007
    canvas.shade(0.30 * canvas.coverage(np.maximum(crease, ends + 0.02)))
    return np.minimum(eye, lash) < _MARGIN


def _eyeballs(canvas: Canvas, open_eye: Array, place: Place, person: People, shot: Shots, below_lid: Array) -> None:
    """Draw sclera, iris, pupil and highlight; both eyes share gaze and light."""
    x, y = place.sign * (place.side - person.eye_x) - shot.gaze, place.face_y - person.eye_y + 0.018
    canvas.paint(_WHITE * (1 - 0.35 * np.clip(1 - below_lid / 0.05, 0, 1)), open_eye)
    outward = np.hypot(x, y) - person.iris_radius
    canvas.paint(0.5 * person.iris, open_eye * canvas.coverage(outward))
    glow = 1 + 0.5 * np.clip(y / person.iris_radius, -0.5, 1)
    canvas.paint(person.iris * glow, open_eye * canvas.coverage(outward + 0.018))
    canvas.paint(_LASH, open_eye * canvas.coverage(outward + 0.52 * person.iris_radius))
    spark = np.hypot(x - 0.05 * shot.light_x - 0.01, y + 0.037) - 0.024
    canvas.paint(_WHITE, open_eye * canvas.coverage(spark))


def _mouth(canvas: Canvas, place: Place, person: People, move: Expressions, strength: Array) -> Mask:
    """Draw the mouth: four curves from corner to corner bound the lips (`outer`) and the opening (`inner`)."""
    width = person.mouth_width + move.mouth_width
    across = place.face_x / width  # -1 to 1 from corner to corner
    y = place.face_y - person.mouth_y
    ends = (np.abs(across) - 1) * width
    almond = np.maximum(1 - np.square(across), 0)
    profile = almond + move.mouth_round * (np.sqrt(almond) - almond)
    middle = -(person.mouth_corner + move.mouth_corner * strength) * (np.square(across) - 0.4)
    inner_top = middle - (0.25 * move.mouth_open + move.lip_raise * strength) * profile - 0.006
    inner_end = middle + 0.75 * move.mouth_open * profile + 0.006
    plump = (1 - move.lip_press) * (almond + 0.7 * (profile - almond))
    bow = 0.75 + 0.8 * np.minimum(np.abs(across), 0.6)
    outer_top, outer_end = inner_top - plump * bow * person.lip_upper, inner_end + plump * person.lip_lower

    lips = np.maximum(between(y, outer_top, outer_end), ends)
    canvas.shade(0.22 * bump(place.face_x / 0.24, (y - outer_end - 0.05) / 0.07))
    covered = canvas.coverage(lips)
    canvas.paint(person.lips, covered)
    sheen = 0.16 * bump(across / 0.6, (outer_end - y - 0.035) / 0.03)
    canvas.shade(covered * np.where(y < middle, 0.14, -sheen))

    inside = canvas.coverage(np.maximum(between(y, inner_top, inner_end), ends))
    _inside_mouth(canvas, inside, y - inner_top, inner_end - y, across, ends, move)
    corners = np.maximum(np.abs(y - middle) - 0.010, np.abs(ends + 0.005) - 0.02)
    canvas.shade(0.5 * (1 - np.minimum(move.mouth_round, 1)) * canvas.coverage(corners))
    return lips < _MARGIN


def _inside_mouth(
    canvas: Canvas, inside: Array, from_top: Array, from_end: Array, across: Array, ends: Array, move: Expressions
) -> None:
    """Draw throat, tongue and teeth inside the opening."""
    canvas.paint(_THROAT, inside)
    tongue = ellipse(across, from_end + 0.01, 0.65, 0.07)
    canvas.paint(_TONGUE, inside * canvas.coverage(tongue) * np.clip(move.mouth_open / 0.06 - 0.6, 0, 1))
    gap = move.mouth_open + move.lip_raise
    upper, lower = np.minimum(move.teeth_upper, 0.9 * gap), np.minimum(move.teeth_lower, 0.45 * gap)
    teeth = np.maximum(np.minimum(from_top - upper, from_end - lower), ends + 0.03)
    canvas.paint(_TEETH, inside * canvas.coverage(teeth) * np.clip(gap / 0.02, 0, 1))
