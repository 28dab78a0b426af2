"""What tells an image's class apart, and what does not, by comparison with others (paper Fig. 13)."""

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
    """Discriminative and redundant features of the first image, seen against each of the others.

    Discriminative is what it shares with images of its class and what it does not share with images of others; this is
    what quadruplet cross similarity attends to. Redundant is the reverse: what differs within the class (a person,
    a pose) and what all classes share.

    Args:
        compared: The image, then n others.
        same_class: For each of the others, whether it is of the image's class.

    Returns:
        `discriminative` and `redundant` (levels, n, g, g), in multiples of uniform attention.

    Raises:
        InputError: If there is no other image, or not one entry for each.

    Example:
        >>> import qcs, torch
        >>> from qcs.visualize import compare, feature_maps
        >>> compared = compare(qcs.create_model("qcs_nano"), torch.randn(3, 3, 48, 48))
        >>> feature_maps(compared, [True, False])["redundant"].shape
        (3, 2, 6, 6)
    """
    others = len(compared) - 1
    if others < 1 or len(same_class) != others:
        raise InputError(f"{others} images beside the first, and {len(same_class)} entries that say whose class it has")
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
    """Draw what in an image tells its class, and what does not, against each of some others and on average.

    Args:
        images: RGB faces (1 + n, H, W, 3), uint8: the image, then the others.
        maps: What `feature_maps` returns for them.
        classes: The class of each face.
        level: Which level to draw, counted from 0; -1 is the deepest.

    Returns:
        The figure: the image with the mean over all comparisons, then a column for each other face; all maps lie over
        the image itself.

    Raises:
        InputError: If there are not as many maps or classes as faces.

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
            f"{len(faces)} faces with {len(classes)} classes and {len(shown['discriminative'])} maps do not go together"
        )
    image = np.repeat(faces[:1], len(faces), axis=0)
    rows = {
        name: Overlay(np.concatenate([values.mean(0, keepdims=True), values]), UNIFORM, True, image)
        for name, values in shown.items()
    }
    titles = [f"{name}{' (own)' if name == classes[0] else ''}" for name in classes[1:]]
    return attention_rows(faces, rows, column_titles=[f"{classes[0]}\nmean of all", *titles])
