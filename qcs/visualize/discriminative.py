"""Compute and draw discriminative and redundant features of an image (paper Fig. 13)."""

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


def feature_maps(compared: Comparison, same_class: Sequence[bool]) -> dict[str, Array]:
    """Compute the discriminative and the redundant features of the first image against each of the others.

    Discriminative features are similar to images of the same class and dissimilar to images of other classes;
    quadruplet cross similarity attends to them. Redundant features are the reverse: those that differ within the class
    (person, pose) and those that all classes share.

    Args:
        compared: Comparison of the image and n others, the image first.
        same_class: Whether each of the others has the class of the image, (n,).

    Returns:
        `discriminative` and `redundant` (levels, n, g, g), in multiples of uniform attention.

    Raises:
        InputError: If there is only one image, or `same_class` has another length than the others.

    Example:
        >>> import qcs, torch
        >>> from qcs.visualize import compare, feature_maps
        >>> compared = compare(qcs.create_model("qcs_nano"), torch.randn(3, 3, 48, 48))
        >>> feature_maps(compared, [True, False])["redundant"].shape
        (3, 2, 6, 6)
    """
    others = len(compared) - 1
    if others < 1 or len(same_class) != others:
        raise InputError(
            f"same_class has {len(same_class)} entries for {others} other images; expected one each, for at least one"
        )
    similar, different = (
        [compared.heat_map(0, number, alignment) for number in range(1, len(compared))] for alignment in ALIGNMENTS
    )
    pairs = list(zip(same_class, similar, different, strict=True))
    return {
        "discriminative": np.stack([like if same else unlike for same, like, unlike in pairs], axis=1),
        "redundant": np.stack([unlike if same else like for same, like, unlike in pairs], axis=1),
    }


def discriminative_features(
    images: npt.ArrayLike, maps: Mapping[str, Array], classes: Sequence[str], *, level: int = -1
) -> Figure:
    """Draw the discriminative and the redundant features of an image, against each of the others and on average.

    Args:
        images: RGB faces (1 + n, H, W, 3), uint8: the image, then the others.
        maps: The result of `feature_maps` for them.
        classes: The class of each face.
        level: Which level to draw, counted from 0; -1 is the deepest.

    Returns:
        The figure: a column for the mean over all comparisons, then one for each other face; all maps lie over the
        image.

    Raises:
        InputError: If the numbers of faces, maps and classes do not match.

    Example:
        >>> import numpy as np, qcs, torch
        >>> from qcs.visualize import compare, discriminative_features, feature_maps
        >>> maps = feature_maps(compare(qcs.create_model("qcs_nano"), torch.randn(3, 3, 48, 48)), [True, False])
        >>> figure = discriminative_features(np.zeros((3, 48, 48, 3), np.uint8), maps, ["sad", "sad", "happy"])
        >>> [panel.get_title() for panel in figure.axes[1:3]]
        ['sad (own)', 'happy']
    """
    faces = checked_faces(images)
    shown = {name: values[level] for name, values in maps.items()}
    if not len(faces) == len(classes) == len(shown["discriminative"]) + 1:
        raise InputError(
            f"{len(faces)} faces, {len(classes)} classes and {len(shown['discriminative'])} maps; expected as many "
            "classes as faces and one map less"
        )
    image = np.repeat(faces[:1], len(faces), axis=0)
    rows = {
        name: Overlay(np.concatenate([values.mean(0, keepdims=True), values]), UNIFORM, True, image)
        for name, values in shown.items()
    }
    titles = [f"{name}{' (own)' if name == classes[0] else ''}" for name in classes[1:]]
    return attention_rows(faces, rows, column_titles=[f"{classes[0]}\nmean of all", *titles])
