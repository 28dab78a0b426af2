"""Make sample faces for visitors without photographs at hand."""

from __future__ import annotations

import io
from itertools import chain

import numpy as np
import numpy.typing as npt
from PIL import Image

from qcs.data.synthetic import synthetic_faces

SIDE = 256  # pixels
EXPRESSIONS = ("happy", "surprise")  # two faces of each, as in a quadruplet


def sample_faces() -> dict[str, bytes]:
    """Return synthetic faces of two expressions, two each, as PNG files by name.

    Example:
        >>> list(sample_faces())
        ['happy-1.png', 'happy-2.png', 'surprise-1.png', 'surprise-2.png']
    """
    faces = synthetic_faces(14, size=SIDE)
    rows = [(name, (faces.labels == faces.classes.index(name)).nonzero()[0]) for name in EXPRESSIONS]
    files = (
        [(f"{name}-{at + 1}.png", _png(faces.images[row])) for at, row in enumerate(found)] for name, found in rows
    )
    return dict(chain.from_iterable(files))


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
