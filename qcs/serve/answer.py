"""Answer the images that a user drops on the page, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch

from qcs.engine.prediction import Prediction
from qcs.errors import InputError
from qcs.faces import FaceDetector
from qcs.faces.alignment import DEFAULT
from qcs.models import CrossSimilarityNetwork
from qcs.serve.analysis import AnalyzedImage, analyze, compare_faces
from qcs.serve.images import Array, chart_url, color_scale, matrix_image, overlay, photo_url
from qcs.serve.rendering import render
from qcs.serve.uploads import read_uploads
from qcs.visualize.attention import LOWEST, LOWEST_LABEL, clipped_log2
from qcs.visualize.maps import Comparison

# The branches of a quadruplet, for readers of the page.
ROLES = ("anchor", "same expression", "another expression", "same as 3")


@dataclass(frozen=True)
class Answer:
    """Answer dropped images with predictions and maps.

    Args:
        model: The network.
        detector: The face detector.
        crop: Crop of the faces, see `qcs.faces.template`.
        device: Device to compute on.
    """

    model: CrossSimilarityNetwork
    detector: FaceDetector
    crop: str = DEFAULT
    device: torch.device | str = "cpu"

    def __call__(self, files: Any, cropped: bool) -> str:
        """Analyze the files and return HTML, or the message of an input error.

        Args:
            files: The data that the page sends, see `qcs.serve.uploads.read_uploads`.
            cropped: Whether each image is a cropped face.

        Returns:
            HTML; empty without files.
        """
        try:
            uploads = read_uploads(files)
            detector = None if cropped else self.detector
            images = analyze(self.model, uploads, detector, crop=self.crop, device=self.device)
        except InputError as error:
            return render("problem.html", problem=str(error))
        compared = compare_faces(self.model, images, self.device)
        return render(
            "answer.html",
            images=[_image(image) for image in images],
            branches=self.model.branches,
            pairs=_pairs(compared, images, self.model.branches) if compared else [],
            attention=_attention(compared, images) if compared and len(images) == self.model.branches == 4 else None,
            matrix_scale=chart_url(color_scale(over_gray=False)),
            map_scale=chart_url(color_scale(over_gray=True)),
        )


def _image(image: AnalyzedImage) -> dict[str, Any]:
    """Return the template variables of an image."""
    return {
        "name": image.name,
        "picture": photo_url(image.image),
        "size": image.image.size,
        "faces": [_face(prediction) for prediction in image.faces],
        "face": photo_url(image.face),
        "label": image.label,
        "probabilities": sorted(image.probabilities.items(), key=lambda row: -row[1]),
    }


def _face(prediction: Prediction) -> dict[str, Any]:
    """Return the template variables of a detected face."""
    place: Any = prediction.face
    return {
        "box": place.box,
        "landmarks": place.landmarks,
        "label": prediction.label,
        "probability": prediction.probabilities[prediction.label],
    }


def _pairs(compared: Comparison, images: Sequence[AnalyzedImage], branches: int) -> list[dict[str, Any]]:
    """Return similarity matrices and maps of every two faces, by level."""
    return [
        {
            "numbers": (a + 1, b + 1),
            "labels": (images[a].label, images[b].label),
            "rows": [
                _pair_row(similarity, maps, (images[a], images[b]))
                for similarity, maps in zip(
                    compared.pair(a, b).similarity,
                    _attention_maps(compared, a, b) if branches == 2 else _similarity_maps(compared, a, b),
                    strict=True,
                )
            ],
        }
        for a, b in combinations(range(len(images)), 2)
    ]


def _similarity_maps(compared: Comparison, a: int, b: int) -> Array:
    """Return the similarity maps of two faces (levels, 2, g, g), in multiples of uniform attention."""
    return np.stack([compared.heat_map(a, b), compared.heat_map(b, a)], axis=1)


def _pair_row(similarity: Array, maps: Array, images: tuple[AnalyzedImage, AnalyzedImage]) -> dict[str, Any]:
    high = float(similarity.max())
    return {
        "matrix": chart_url(matrix_image(similarity, 0, high)),
        "high": f"{high:.2g}",
        "maps": _map_row(maps, images),
    }


def _attention(compared: Comparison, images: Sequence[AnalyzedImage]) -> dict[str, Any]:
    """Return the attention of four faces, and whether their predicted classes form a quadruplet."""
    anchor, positive, negative, other = (image.label for image in images)
    return {
        "roles": ROLES,
        "is_quadruplet": anchor == positive != negative == other,
        "rows": [_map_row(maps, images) for maps in _attention_maps(compared, *range(len(images)))],
    }


def _attention_maps(compared: Comparison, *faces: int) -> Array:
    """Return attention (levels, branches, g, g) in multiples of uniform attention."""
    weights = compared.attention(*faces)
    return compared.grid(weights * weights.shape[-1])


def _map_row(maps: Array, images: Sequence[AnalyzedImage]) -> dict[str, Any]:
    """Draw maps (n, g, g) over their faces, on one logarithmic color scale."""
    exponents = clipped_log2(maps)
    low, high = float(exponents.min()), float(exponents.max())
    faces = [photo_url(overlay(image.face, values, low, high)) for image, values in zip(images, exponents, strict=True)]
    return {"faces": faces, "low": LOWEST_LABEL if low <= LOWEST else f"{2**low:.1g}", "high": f"{2**high:.2g}"}
