"""Draw the parts that do not depend on the expression: background, hair, head, nose, beard, glasses."""

from __future__ import annotations

import numpy as np

from qcs.data.synthetic.canvas import Array, Canvas, bump, ellipse, rounded_box
from qcs.data.synthetic.people import People
from qcs.data.synthetic.place import Place
from qcs.data.synthetic.shots import Shots


def background(grid_x: Array, grid_y: Array, shot: Shots) -> Array:
    """Return the background (B, 3, P): a gradient of two colors and a soft blob of a third."""
    along = 0.5 + 0.35 * (np.cos(shot.back_angle) * grid_x + np.sin(shot.back_angle) * grid_y)
    blob = bump((grid_x - shot.blob_x) / shot.blob_radius, (grid_y - shot.blob_y) / shot.blob_radius)
    color = shot.back + along * (shot.back_far - shot.back)
    return color + blob * (shot.blob - color)


def draw_head(canvas: Canvas, place: Place, person: People, shot: Shots) -> None:
    """Draw the person without brows, eyes and mouth, from back to front, and the shading of head and hair."""
    v = place.y / np.where(place.y < 0, person.head_top, person.chin)
    u = place.x / (person.head_width * (1 - person.taper * np.square(np.clip(v, 0, 1))))
    radius = np.sqrt(u * u + v * v)  # 1 on the outline of the head
    strands = _strands(place, person)
    cap = _cap(place, person, strands)

    _hair_behind(canvas, place, person, cap, strands)
    _neck(canvas, place, person, shot)
    _ears(canvas, place, person)
    head = canvas.coverage(0.78 * (radius - 1))
    canvas.cover(person.skin, head)
    _shape_light(canvas, u, v, head, shot)
    _cheeks_and_sockets(canvas, place, person)
    _nose(canvas, place, person, shot)
    _beard(canvas, place, person, head, strands)

    line = person.hairline + person.hair_tilt * place.x + person.hair_fall * np.minimum(np.square(u * u), 1)
    below = place.y - line - 0.025 * strands
    canvas.shade(head * np.clip(0.3 - 3 * below, 0, 0.25) * person.hair_opacity)
    front = canvas.coverage(np.maximum(cap, below)) * person.hair_opacity
    canvas.paint(person.hair, front)
    gloss = np.maximum(1 - np.square((radius - 0.85 - 0.03 * strands) / 0.1), 0) * np.maximum(-v - 0.3, 0)
    canvas.shade(front * (0.12 * strands - 0.8 * gloss))


def _strands(place: Place, person: People) -> Array:
    """Return a wave pattern from -1 to 1: strands that spread from the crown, or curls."""
    x, y = place.x, place.y
    locks = np.sin(18 * x / np.maximum(y + 1.6, 0.3) + 3 * person.hair_tilt)
    curls = np.sin(27 * x + 2.5 * np.sin(9 * y)) * np.sin(27 * y + 2.5 * np.sin(8 * x))
    return locks + person.hair_curl * (curls - locks)


def _cap(place: Place, person: People, strands: Array) -> Array:
    """Return the signed distance to the hair close to the head; curls are higher and irregular."""
    lift = 0.15 * person.hair_curl
    radius_x, radius_y = person.head_width + person.hair_side, person.head_top + person.hair_top - lift
    return ellipse(place.x, place.y + lift, radius_x, radius_y) + 0.03 * person.hair_curl * strands


def _hair_behind(canvas: Canvas, place: Place, person: People, cap: Array, strands: Array) -> None:
    """Draw the hair behind the head: cap, long hair and bun."""
    half_x, half_y = person.head_width + person.hair_side, 0.5 * person.hair_length
    fall = rounded_box(place.x, place.y - half_y, half_x - 0.04 * np.square(place.y - 0.4), half_y, 0.12)
    cap = np.maximum(cap, place.y - np.maximum(person.hair_length, 0.7 * person.hair_curl))
    # Without a bun, its ellipse lies far outside the image.
    bun = ellipse(place.x, place.y + person.head_top + 0.12 + 9 * (1 - person.hair_bun), 0.26, 0.22)
    behind = canvas.coverage(np.minimum(np.minimum(cap, fall), bun)) * person.hair_opacity
    canvas.paint(person.hair, behind)
    canvas.shade(behind * (0.2 + 0.1 * strands))


def _neck(canvas: Canvas, place: Place, person: People, shot: Shots) -> None:
    """Draw neck and clothes, which cover the hair behind the shoulders."""
    neck = np.maximum(np.abs(place.x) - 0.34, 0.3 - place.y)
    canvas.cover(0.72 * person.skin, canvas.coverage(neck))
    shirt = ellipse(place.x, place.y - 1.6, 1.3, 0.8)
    canvas.cover(shot.shirt, canvas.coverage(shirt))


def _ears(canvas: Canvas, place: Place, person: People) -> None:
    """Draw an ear on each side, darker inside."""
    x, y = np.abs(place.x) - person.head_width - 0.01, place.y - 0.04
    canvas.cover(0.93 * person.skin, canvas.coverage(ellipse(x, y, 0.6 * person.ear, person.ear)))
    canvas.shade(0.25 * bump((x - 0.01) / 0.07, y / 0.11))


def _shape_light(canvas: Canvas, u: Array, v: Array, head: Array, shot: Shots) -> None:
    """Shade the head by Lambert's law as a flattened sphere."""
    toward = u * shot.light_x + v * shot.light_y + np.sqrt(np.maximum(1.15 - u * u - v * v, 0.05)) * shot.light_z
    canvas.shade(head * shot.contrast * (0.70 - toward))


def _cheeks_and_sockets(canvas: Canvas, place: Place, person: People) -> None:
    """Draw the blush of the cheeks and the shadow of the brow bone."""
    canvas.paint(person.lips, person.blush * bump((place.side - 0.40) / 0.26, (place.face_y - 0.24) / 0.22))
    canvas.shade(0.16 * bump((place.side - 0.24) / 0.30, (place.face_y + 0.14) / 0.24))


def _nose(canvas: Canvas, place: Place, person: People, shot: Shots) -> None:
    """Draw the nose: a ridge lit from one side, a highlight on the tip, wings and nostrils."""
    x, y = place.face_x - 0.6 * shot.yaw, place.face_y - person.nose_y
    wide = np.abs(x)
    across = x / (person.nose_width * np.maximum(0.75 + 0.4 * y, 0.3))
    ridge = bump(across / 1.5, (y + 0.17) / 0.32)
    canvas.shade(-0.9 * shot.contrast * shot.light_x * across * ridge)
    canvas.shade(-0.14 * bump(across / 0.8, (y + 0.17) / 0.30) - 0.22 * bump(x / 0.08, (y + 0.01) / 0.07))
    canvas.shade(0.30 * bump(x / (1.3 * person.nose_width), (y - 0.085) / 0.06))
    wing = np.abs(np.hypot(wide - 0.75 * person.nose_width, y - 0.03) - 0.055) - 0.008
    canvas.shade(0.28 * canvas.coverage(np.maximum(wing, 0.8 * person.nose_width - wide)))
    nostril = ellipse(wide - 0.48 * person.nose_width, y - 0.06, 0.32 * person.nose_width, 0.024)
    canvas.shade(0.55 * canvas.coverage(nostril))


def _beard(canvas: Canvas, place: Place, person: People, head: Array, strands: Array) -> None:
    """Draw a beard along the jaw and, for some, a mustache."""
    line = person.mouth_y + 0.17 - 1.3 * np.square(place.face_x)
    soft = np.clip((place.face_y - line) / 0.10, 0, 1) * head
    mustache = bump(place.side / 0.30, (place.face_y - person.mouth_y + 0.125 - 0.25 * place.side) / 0.075)
    hair = np.maximum(soft, np.clip(2 * person.mustache * mustache, 0, 1)) * person.beard
    canvas.paint(person.hair * 0.9, hair)
    canvas.shade(0.12 * hair * strands)


def draw_glasses(canvas: Canvas, place: Place, person: People, shot: Shots) -> None:
    """Draw frames, bridge, temples and reflections of glasses on faces that wear them."""
    x, y = place.side - person.eye_x - 0.01, place.face_y - person.eye_y - 0.01
    width, height = person.eye_width + 0.055, 0.165 + 0.06 * shot.lens_round
    lens = rounded_box(x, y, width, height, height * shot.lens_round)
    bridge = np.maximum(np.abs(y + 0.05) - 0.012, place.side - person.eye_x + width)
    temple = np.maximum(np.abs(y + 0.06) - 0.014, person.eye_x + width - place.side)
    temple = np.maximum(temple, np.abs(place.x) - person.head_width)
    sheen = np.clip(1 - np.abs(x * place.sign + 0.6 * y - 0.03) / 0.05, 0, 1)
    canvas.shade(canvas.coverage(lens) * (0.05 - 0.18 * sheen) * shot.glasses)
    rim = np.minimum(np.abs(lens) - 0.016, np.minimum(bridge, temple))
    canvas.paint(shot.frame, canvas.coverage(rim) * shot.glasses)
