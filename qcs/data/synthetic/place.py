"""Map pixels to coordinates on each head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qcs.data.synthetic.canvas import Array
from qcs.data.synthetic.shots import Shots


@dataclass(frozen=True)
class Place:
    """Coordinates of every pixel, (B, 1, P) each, in face units: x to the right, y down, head height about 1.75."""

    x: Array  # on the upright head
    y: Array
    face_x: Array  # on the face, which rotates within the outline of the head
    face_y: Array
    side: Array  # distance from the midline of the face: both halves are drawn at once
    sign: Array  # +1 on the right half of the face in the image, -1 on the left


def locate(grid_x: Array, grid_y: Array, shot: Shots) -> Place:
    """Map pixels (1, 1, P), from -1 to 1, to the coordinates of each head."""
    dx, dy = (grid_x - shot.shift_x) / shot.scale, (grid_y - shot.shift_y) / shot.scale
    cos, sin = np.cos(shot.roll), np.sin(shot.roll)
    x, y = cos * dx + sin * dy, cos * dy - sin * dx
    # In a rotating head, the nearest part moves most and the outline hardly.
    near = 0.4 + np.maximum(1 - x * x - 0.6 * y * y, 0)
    face_x, face_y = x - shot.yaw * near, y - shot.pitch * near
    return Place(x, y, face_x, face_y, np.abs(face_x), np.sign(face_x))
