"""Project features to the plane and draw them by class or person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qcs.errors import InputError
from qcs.escaping import drawable
from qcs.imports import require
from qcs.visualize.figure import PALETTE, SMALL, TITLE, blank
from qcs.visualize.maps import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vPX*"  # color and marker together distinguish more groups than either alone
NAMED = 8  # largest groups, which get a color and a marker; the others are gray dots


def project(features: npt.ArrayLike, seed: int = 0) -> Array:
    """Project features to the plane by t-SNE, which keeps neighbors; distances between groups mean little.

    Args:
        features: Features (n, C), n >= 3.
        seed: Seed of the projection.

    Returns:
        Points (n, 2).

    Raises:
        InputError: If scikit-learn is missing, or there are fewer than three images.

    Example:
        >>> import numpy as np
        >>> from qcs.visualize import project
        >>> project(np.eye(5)).shape
        (5, 2)
    """
    values = np.asarray(features, dtype=np.float32)
    if values.ndim != 2 or len(values) < 3:
        raise InputError(f"features have shape {values.shape}: expected (n, C) of at least three images")
    perplexity = min(30.0, (len(values) - 1) / 3)
    require("sklearn", extra="viz", purpose="t-SNE")
    from sklearn.manifold import TSNE

    points: Array = TSNE(perplexity=perplexity, random_state=seed).fit_transform(values)
    return points


def neighbor_agreement(features: npt.ArrayLike, groups: Sequence[str]) -> float:
    """Return the proportion, in [0, 1], of images whose nearest neighbor in feature space is of the same group.

    Args:
        features: Features (n, C), not their projection.
        groups: Group of each image.

    Raises:
        InputError: If scikit-learn is missing.

    Example:
        >>> from qcs.visualize import neighbor_agreement
        >>> neighbor_agreement([[0.0], [1.0], [3.0], [7.0]], ["happy", "happy", "sad", "sad"])
        0.75
    """
    require("sklearn", extra="viz", purpose="the search of nearest neighbors")
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=1).fit(np.asarray(features)).kneighbors(return_distance=False)[:, 0]
    names = np.asarray(groups)
    return float((names == names[nearest]).mean())


def embedding(points: npt.ArrayLike, groupings: Mapping[str, Sequence[str]]) -> Figure:
    """Draw images as points, one panel for each grouping.

    The eight largest groups have a color and a marker each; the images of all others are small gray dots.

    Args:
        points: (n, 2), from `project`.
        groupings: Group of each image by title: its class, its person, ...

    Returns:
        The figure: a panel for each grouping, all with the same points.

    Raises:
        InputError: If there is no grouping, or one has another length than the points.

    Example:
        >>> import numpy as np
        >>> from qcs.visualize import embedding
        >>> figure = embedding(np.eye(2), {"class": ["happy", "sad"], "person": ["Ann", "Ann"]})
        >>> [panel.get_title() for panel in figure.axes]
        ['class', 'person']
    """
    places = np.asarray(points)
    if places.ndim != 2 or places.shape[1] != 2:
        raise InputError(f"points have shape {places.shape}: expected (n, 2)")
    if not groupings:
        raise InputError("no grouping of the points: give at least one, as {title: groups}")
    for title, groups in groupings.items():
        if len(groups) != len(places):
            raise InputError(f"grouping {title!r} has {len(groups)} groups for {len(places)} points: give one for each")
    figure = blank(4.6 * len(groupings), 4.9)
    for panel, (title, groups) in zip(
        figure.subplots(1, len(groupings), squeeze=False)[0], groupings.items(), strict=True
    ):
        _draw(panel, places, np.asarray(groups))
        panel.set_title(drawable(title), fontsize=TITLE)
    return figure


def _draw(panel: Axes, points: npt.NDArray[Any], groups: npt.NDArray[np.str_]) -> None:
    counts = Counter(groups.tolist())
    named = [name for name, _ in counts.most_common(NAMED)]
    rest = ~np.isin(groups, named)
    if rest.any():
        x, y = points[rest].T
        panel.scatter(x, y, s=5, c="0.75", linewidths=0, label=f"{len(counts) - len(named)} others")
    for number, name in enumerate(named):
        color, marker = PALETTE[number % len(PALETTE)], MARKERS[number]
        x, y = points[groups == name].T
        panel.scatter(x, y, s=16, c=color, marker=marker, linewidths=0, alpha=0.8, label=drawable(name))
    panel.set(xticks=[], yticks=[], aspect="equal")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3, fontsize=SMALL, frameon=False)
