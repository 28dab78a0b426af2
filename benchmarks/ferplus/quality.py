"""Measure how accuracy falls with size and sharpness of faces, on validation images, to set the quality gate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.ferplus.data import Data
from benchmarks.ferplus.outputs import forward
from qcs.data import LabeledImages
from qcs.faces.quality import sharpness
from qcs.files import write_text
from qcs.models import load_model

FOLDER, FILE = "trust", "quality.json"
EVERY = 4  # of the validation images
HEIGHTS = (48, 32, 28, 24, 20, 16, 12, 8)  # pixels, then enlarged to 48 again
BLURS = (0.5, 1.0, 1.5, 2.0, 3.0)  # standard deviation of the Gaussian, in pixels of 48


def measure(data: Data, results: Path) -> Path:
    """Measure reduced and blurred validation images with the weights in the package, and write the record.

    Args:
        data: The images; test images are not looked at.
        results: Folder of the results.

    Returns:
        The file written.
    """
    model = load_model("qcs_small")
    images = data.official["validation"].with_classes(model.class_names)
    images = images.subset(np.arange(0, len(images), EVERY))
    pictures = [images.image(row) for row in range(len(images))]

    def of(changed: list[Image.Image]) -> dict[str, Any]:
        shown = LabeledImages([np.asarray(each) for each in changed], images.labels, images.classes)
        right = forward(model, shown).argmax(1) == images.labels
        sharp = [sharpness(each) for each in changed]
        return {
            "accuracy": float(right.mean()),
            "sharpness": dict(zip(("5%", "50%", "95%"), np.quantile(sharp, (0.05, 0.5, 0.95)).tolist(), strict=True)),
        }

    record = {
        "images": len(images),
        "heights": {str(side): of([_reduced(each, side) for each in pictures]) for side in HEIGHTS},
        "blurs": {
            f"{blur:g}": of([each.filter(ImageFilter.GaussianBlur(blur)) for each in pictures]) for blur in BLURS
        },
    }
    return write_text(results / FOLDER / FILE, json.dumps(record, indent=1) + "\n")


def _reduced(image: Image.Image, side: int) -> Image.Image:
    return image.resize((side, side), Image.Resampling.BOX if side < image.width else None).resize(image.size)
