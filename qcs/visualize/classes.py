"""An anchor against images of its own and every other class: where they are alike and where not (paper Fig. 6, 8)."""

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
    """The heat maps of the first image against each of the others, and what they are made of.

    Args:
        compared: The anchor, then n other images.

    Returns:
        `similarity_of_anchor`, `similarity_of_image`, `dissimilarity_of_anchor` and `dissimilarity_of_image`,
        (levels, n, g, g), in multiples of uniform attention; `mean_distance` between the tokens, (levels, n).

    Raises:
        InputError: If there is no other image.

    Example:
        >>> import qcs, torch
        >>> from qcs.visualize import class_maps, compare
        >>> class_maps(compare(qcs.create_model("dcs_nano"), torch.randn(3, 3, 48, 48)))["similarity_of_anchor"].shape
        (3, 2, 6, 6)
    """
    others = range(1, len(compared))
    if not others:
        raise InputError("an anchor is compared with other images: give at least two images")
    maps = {}
    for alignment in ALIGNMENTS:
        maps[f"{alignment}_of_anchor"] = np.stack([compared.heat_map(0, i, alignment) for i in others], axis=1)
        maps[f"{alignment}_of_image"] = np.stack([compared.heat_map(i, 0, alignment) for i in others], axis=1)
    maps["mean_distance"] = np.stack([compared.pair(0, i).distance.mean((1, 2)) for i in others], axis=1)
    return maps


def class_heat_maps(
    images: npt.ArrayLike, maps: Mapping[str, Array], classes: Sequence[str], *, level: int = -1
) -> Figure:
    """Draw where an anchor is like, and unlike, an image of each class: in the anchor and in that image.

    A column for each image; below it the similarity of the pair laid over the anchor and over the image, then the
    dissimilarity likewise. A map is the attention that this one comparison would give the face.

    Args:
        images: RGB faces (1 + n, H, W, 3), uint8: the anchor, then one image of each class, its own among them.
        maps: What `class_maps` returns for them.
        classes: The class of each face, the anchor's first.
        level: Which level to draw, counted from 0; -1 is the deepest.

    Returns:
        The figure: a grid of n columns, titled with the class and the mean distance between the tokens.

    Raises:
        InputError: If there are not as many maps or classes as faces.

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
        raise InputError(f"{len(faces)} faces with {len(classes)} classes and {len(distances)} maps do not go together")
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
