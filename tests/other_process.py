"""What other processes run in tests; they import it without pytest."""

from __future__ import annotations

from pathlib import Path

from qcs.faces import MTCNN


def faces_of(detector: MTCNN, path: Path) -> list[tuple[float, ...]]:
    """Boxes of the faces in an image file."""
    return [face.box for face in detector(path)]
