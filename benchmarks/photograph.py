"""Make the annotated photograph of the README, and print the result that it shows.

`python -m benchmarks.photograph docs/images/photograph.jpg`

The photograph is NASA's portrait of Eileen Collins (public domain), part of scikit-image.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from skimage import data

import qcs


def predicted(folder: Path) -> qcs.faces.Faces:
    """Save the photograph as photograph.png in a folder, and predict it as the README does."""
    Image.fromarray(data.astronaut()).save(folder / "photograph.png")
    result: qcs.faces.Faces = qcs.predict(folder / "photograph.png")
    return result


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        found = predicted(Path(place))
        found.annotated().save(sys.argv[1], quality=90)
    print(found)
