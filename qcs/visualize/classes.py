"""Compare an anchor with an image of each class: similarity and dissimilarity maps (paper Fig. 6, 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qcs.errors import InputError
from qcs.visualize.attention import UNIFORM, Overlay, attention_rows, checked_faces
from qcs.visualize.maps import ALIGNMENTS, Array, Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def class_maps(compared: Comparison) -> dict[str, Array]:
    """Compute the heat maps of the first image and each of the others.

    Args:
        compared: Comparison of the anchor and n other images, the anchor first.

    Returns:
        `similarity_of_anchor`, `similarity_of_image`, `dissimilarity_of_anchor` and `dissimilarity_of_image`,
        (levels, n, g, g), in multiples of uniform attention; `mean_distance` between the tokens, (levels, n).

    Raises:
        InputError: If there is only one image.

    Example:
        >>> import qcs, torch
        >>> from qcs.visualize import class_maps, compare
        >>> class_maps(compare(qcs.create_model("dcs_nano"), torch.randn(3, 3, 48, 48)))["similarity_of_anchor"].shape
        (3, 2, 6, 6)
    """
    others = range(1, len(compared))
    if not others:
        raise InputError("class maps compare an anchor with other images: give at least two images")
    maps = {}
    for alignment in ALIGNMENTS:
        maps[f"{alignment}_of_anchor"] = np.stack([compared.heat_map(0, i, alignment) for i in others], axis=1)
        maps[f"{alignment}_of_image"] = np.stack([compared.heat_map(i, 0, alignment) for i in others], axis=1)
    maps["mean_distance"] = np.stack([compared.pair(0, i).distance.mean((1, 2)) for i in others], axis=1)
    return maps


def class_heat_maps(
    images: npt.ArrayLike, maps: Mapping[str, Array], classes: Sequence[str], *, level: int = -1
) -> Figure:
    """Draw where an anchor and an image of each class are similar and dissimilar, over both faces.

    Each image has a column: the image, the similarity of the pair over the anchor and over the image, then the
    dissimilarity likewise. A map is the attention that this comparison alone would give the face.

    Args:
        images: RGB faces (1 + n, H, W, 3), uint8: the anchor, then one image of each class, including its own.
        maps: The result of `class_maps` for them.
        classes: The class of each face, the anchor's first.
        level: Which level to draw, counted from 0; -1 is the deepest.

    Returns:
        The figure: n columns, titled with the class and the mean distance between the tokens.

    Raises:
        InputError: If the numbers of faces, maps and classes do not match.

    Example:
        >>> import numpy as np, qcs, torch
        >>> from qcs.visualize import class_heat_maps, class_maps, compare
        >>> maps = class_maps(compare(qcs.create_model("qcs_nano"), torch.randn(3, 3, 48, 48)))
        >>> figure = class_heat_maps(np.zeros((3, 48, 48, 3), np.uint8), maps, ["sad", "sad", "happy"])
        >>> figure.axes[0].get_title().splitlines()[0]
        'sad (own)'
    """
    faces = checked_faces(images)
    shown = {name: values[level] for name, values in maps.items()}
    distances = shown.pop("mean_distance")
    if not len(faces) == len(classes) == len(distances) + 1:
        raise InputError(
            f"{len(faces)} faces, {len(classes)} classes and {len(distances)} maps; expected as many classes as faces "
            "and one map less"
        )
    anchors = np.repeat(faces[:1], len(distances), axis=0)
    rows = {
        f"{alignment}\nover the {where}": Overlay(
            shown[f"{alignment}_of_{where}"], UNIFORM, True, anchors if where == "anchor" else None
        )
        for alignment in ALIGNMENTS
        for where in ("anchor", "image")
    }
    titles = [
        f"{name}{' (own)' if name == classes[0] else ''}\ndistance {distance:.2f}"
        for name, distance in zip(classes[1:], distances, strict=True)
    ]
    return attention_rows(faces[1:], rows, column_titles=titles)
