"""Answer the images that a user drops on the page, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch

from qcs.errors import InputError
from qcs.faces import Face, FaceDetector
from qcs.faces.alignment import DEFAULT
from qcs.models import CrossSimilarityNetwork
from qcs.serve.analysis import ChosenFace, Photo, analyze, choose, compare_faces
from qcs.serve.images import Array, chart_url, color_scale, matrix_image, overlay, photo_url
from qcs.serve.rendering import render
from qcs.serve.uploads import MOST_FACES, read_uploads
from qcs.visualize.attention import LOWEST, LOWEST_LABEL, clipped_log2
from qcs.visualize.maps import Comparison

# The branches of a quadruplet, for readers of the page.
ROLES = ("anchor", "same expression", "another expression", "same as the third")


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

    def __call__(self, files: Sequence[tuple[str, bytes]], cropped: bool, chosen: Sequence[str] = ()) -> str:
        """Analyze the files and return HTML, or the message of an input error.

        Args:
            files: Name and content of each image.
            cropped: Whether each image is a cropped face.
            chosen: Names of the faces to compare, see `qcs.serve.analysis.choose`.

        Returns:
            HTML; empty without files.
        """
        try:
            uploads = read_uploads(files)
            detector = None if cropped else self.detector
            photos = analyze(self.model, uploads, detector, crop=self.crop, device=self.device)
            faces = choose(self.model, photos, chosen, self.crop)
        except InputError as error:
            return render("problem.html", problem=str(error))
        return render(
            "answer.html",
            photos=[_photo(photo, {face.name for face in faces}) for photo in photos],
            chosen=[_face(face) for face in faces],
            most_faces=MOST_FACES,
            branches=self.model.branches,
            matrix_scale=chart_url(color_scale(over_gray=False)),
            map_scale=chart_url(color_scale(over_gray=True)),
            **self._comparison(faces),
        )

    def _comparison(self, faces: Sequence[ChosenFace]) -> dict[str, Any]:
        """Return the template variables of a comparison, or of why there is none: the predictions stay valid."""
        shown: dict[str, Any] = {"pairs": [], "attention": None, "problem": ""}
        try:
            compared = compare_faces(self.model, faces, self.device)
            if compared is None:
                return shown
            if len(faces) == self.model.branches == 4:
                shown["attention"] = _attention(compared, faces)
            return {**shown, "pairs": _pairs(compared, faces, self.model.branches)}
        except InputError as error:
            return {**shown, "attention": None, "problem": str(error)}


def _photo(photo: Photo, chosen: set[str]) -> dict[str, Any]:
    """Return the template variables of a photo."""
    return {
        "letter": photo.letter,
        "name": photo.name,
        "picture": photo_url(photo.image),
        "size": photo.image.size,
        "faces": [_box(f"{photo.letter}{face.number}", face, chosen) for face in photo.faces],
    }


def _box(name: str, face: Face, chosen: set[str]) -> dict[str, Any]:
    """Return the template variables of a classified face in its photo."""
    return {
        "name": name,
        "box": face.box,
        "landmarks": face.landmarks or (),
        "label": face.label,
        "probability": _probabilities(face)[face.label],
        "is_chosen": name in chosen,
    }


def _face(face: ChosenFace) -> dict[str, Any]:
    """Return the template variables of a chosen face."""
    return {
        "name": face.name,
        "picture": photo_url(face.face),
        "label": face.label,
        "probabilities": sorted(_probabilities(face.prediction).items(), key=lambda row: -row[1]),
    }


def _probabilities(face: Face) -> dict[str, float]:
    return face.probabilities or {}


def _pairs(compared: Comparison, faces: Sequence[ChosenFace], branches: int) -> list[dict[str, Any]]:
    """Return similarity matrices and maps of every two faces, by level."""
    return [
        {
            "names": (faces[a].name, faces[b].name),
            "labels": (faces[a].label, faces[b].label),
            "rows": [
                _pair_row(similarity, maps, (faces[a], faces[b]))
                for similarity, maps in zip(
                    compared.pair(a, b).similarity,
                    _attention_maps(compared, a, b) if branches == 2 else _similarity_maps(compared, a, b),
                    strict=True,
                )
            ],
        }
        for a, b in combinations(range(len(faces)), 2)
    ]


def _similarity_maps(compared: Comparison, a: int, b: int) -> Array:
    """Return the similarity maps of two faces (levels, 2, g, g), in multiples of uniform attention."""
    return np.stack([compared.heat_map(a, b), compared.heat_map(b, a)], axis=1)


def _pair_row(similarity: Array, maps: Array, faces: tuple[ChosenFace, ChosenFace]) -> dict[str, Any]:
    high = float(similarity.max())
    return {
        "matrix": chart_url(matrix_image(similarity, 0, high)),
        "high": f"{high:.2g}",
        "maps": _map_row(maps, faces),
    }


def _attention(compared: Comparison, faces: Sequence[ChosenFace]) -> dict[str, Any]:
    """Return the attention of four faces, and whether their predicted classes form a quadruplet."""
    anchor, positive, negative, other = (face.label for face in faces)
    return {
        "roles": [(face.name, role) for face, role in zip(faces, ROLES, strict=True)],
        "is_quadruplet": anchor == positive != negative == other,
        "rows": [_map_row(maps, faces) for maps in _attention_maps(compared, *range(len(faces)))],
    }


def _attention_maps(compared: Comparison, *faces: int) -> Array:
    """Return attention (levels, branches, g, g) in multiples of uniform attention."""
    weights = compared.attention(*faces)
    return compared.grid(weights * weights.shape[-1])


def _map_row(maps: Array, faces: Sequence[ChosenFace]) -> dict[str, Any]:
    """Draw maps (n, g, g) over their faces, on one logarithmic color scale."""
    exponents = clipped_log2(maps)
    low, high = float(exponents.min()), float(exponents.max())
    pictures = [photo_url(overlay(face.face, values, low, high)) for face, values in zip(faces, exponents, strict=True)]
    return {"faces": pictures, "low": LOWEST_LABEL if low <= LOWEST else f"{2**low:.1g}", "high": f"{2**high:.2g}"}
