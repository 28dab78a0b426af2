"""From what was dropped on the page to the HTML that answers it."""

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
from qcs.serve.drawing import Array, chart, matrix, over_face, photo, scale
from qcs.serve.look import Seen, comparison, look
from qcs.serve.rendering import render
from qcs.serve.uploads import read_uploads
from qcs.visualize.attention import LEAST, LEAST_TOLD, powers_of_two
from qcs.visualize.maps import Comparison

# What the branches of a quadruplet are to one another, in plain words.
ROLES = ("anchor", "same expression", "another expression", "same as 3")


@dataclass(frozen=True)
class Answer:
    """Answers what was dropped.

    Args:
        model: The network.
        detector: Finds the faces.
        crop: How faces are cut out, see `qcs.faces.template`.
        device: Where to compute.
    """

    model: CrossSimilarityNetwork
    detector: FaceDetector
    crop: str = DEFAULT
    device: torch.device | str = "cpu"

    def __call__(self, files: Any, cut_out: bool) -> str:
        """What is seen in the files, or one message that says what is wrong with them.

        Args:
            files: What the page sends, see `qcs.serve.uploads.read_uploads`.
            cut_out: Whether each image is a face already.

        Returns:
            HTML; nothing for no files.
        """
        try:
            uploads = read_uploads(files)
            seen = look(self.model, uploads, None if cut_out else self.detector, crop=self.crop, device=self.device)
        except InputError as error:
            return render("problem.html", problem=str(error))
        compared = comparison(self.model, seen, self.device)
        return render(
            "answer.html",
            images=[_image(one) for one in seen],
            branches=self.model.branches,
            pairs=_pairs(compared, seen, self.model.branches) if compared else [],
            attention=_attention(compared, seen) if compared and len(seen) == self.model.branches == 4 else None,
            matrix_scale=chart(scale(over_gray=False)),
            map_scale=chart(scale(over_gray=True)),
        )


def _image(seen: Seen) -> dict[str, Any]:
    """A face and what is read in it."""
    return {
        "name": seen.name,
        "picture": photo(seen.picture),
        "size": seen.picture.size,
        "found": [_found(shown) for shown in seen.found],
        "face": photo(seen.face),
        "label": seen.label,
        "probabilities": sorted(seen.probabilities.items(), key=lambda row: -row[1]),
    }


def _found(shown: Prediction) -> dict[str, Any]:
    """Where a face is, and what is read in it."""
    place: Any = shown.face
    return {
        "box": place.box,
        "landmarks": place.landmarks,
        "label": shown.label,
        "share": shown.probabilities[shown.label],
    }


def _pairs(compared: Comparison, seen: Sequence[Seen], branches: int) -> list[dict[str, Any]]:
    """Every two faces, place by place: the matrix of each level, and where each is like the other."""
    return [
        {
            "numbers": (a + 1, b + 1),
            "labels": (seen[a].label, seen[b].label),
            "rows": [
                _pair_row(similarity, maps, (seen[a], seen[b]))
                for similarity, maps in zip(
                    compared.pair(a, b).similarity,
                    _relative(compared, a, b) if branches == 2 else _likeness(compared, a, b),
                    strict=True,
                )
            ],
        }
        for a, b in combinations(range(len(seen)), 2)
    ]


def _likeness(compared: Comparison, a: int, b: int) -> Array:
    """Where two faces are like one another (levels, 2, g, g), in multiples of uniform attention."""
    return np.stack([compared.heat_map(a, b), compared.heat_map(b, a)], axis=1)


def _pair_row(similarity: Array, maps: Array, seen: tuple[Seen, Seen]) -> dict[str, Any]:
    high = float(similarity.max())
    return {"matrix": chart(matrix(similarity, 0, high)), "high": f"{high:.2g}", "maps": _map_row(maps, seen)}


def _attention(compared: Comparison, seen: Sequence[Seen]) -> dict[str, Any]:
    """The attention of a complete quadruplet, and whether its faces are read as one."""
    anchor, positive, negative, other = (one.label for one in seen)
    return {
        "roles": ROLES,
        "fits": anchor == positive != negative == other,
        "rows": [_map_row(maps, seen) for maps in _relative(compared, *range(len(seen)))],
    }


def _relative(compared: Comparison, *images: int) -> Array:
    """Attention (levels, branches, g, g) in multiples of uniform attention."""
    weights = compared.attention(*images)
    return compared.grid(weights * weights.shape[-1])


def _map_row(maps: Array, seen: Sequence[Seen]) -> dict[str, Any]:
    """Maps (n, g, g) over their faces, on one scale.

    Equal steps of color are equal factors: attention reaches from thousandths of the uniform to tens of times it.
    """
    doublings = powers_of_two(maps)
    low, high = float(doublings.min()), float(doublings.max())
    faces = [photo(over_face(one.face, values, low, high)) for one, values in zip(seen, doublings, strict=True)]
    return {"faces": faces, "low": LEAST_TOLD if low <= LEAST else f"{2**low:.1g}", "high": f"{2**high:.2g}"}
