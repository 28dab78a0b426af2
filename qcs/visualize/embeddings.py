"""Features in the plane: which images a network takes for alike, by class and by person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qcs.errors import InputError
from qcs.visualize.figure import PALETTE, SMALL, TITLE, blank
from qcs.visualize.maps import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vPX*"  # with the colors they tell more groups apart than either could, in print too
NAMED = 8  # groups that get a color and a marker, the largest ones; the others are gray dots


def project(features: npt.ArrayLike, seed: int = 0) -> Array:
    """Features in the plane by t-SNE: neighbors stay neighbors, distances between groups mean little.

    Args:
        features: (n, C), at least three.
        seed: Decides the projection.

    Returns:
        Points (n, 2).

    Raises:
        InputError: If scikit-learn is missing, or there are too few images.

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
    points: Array = _sklearn().TSNE(perplexity=perplexity, random_state=seed).fit_transform(values)
    return points


def neighbor_agreement(features: npt.ArrayLike, groups: Sequence[str]) -> float:
    """Share of the images whose nearest neighbor, by the features themselves, is of the same group, in [0, 1].

    Args:
        features: (n, C).
        groups: The group of each.

    Raises:
        InputError: If scikit-learn is missing.

    Example:
        >>> from qcs.visualize import neighbor_agreement
        >>> neighbor_agreement([[0.0], [1.0], [3.0], [7.0]], ["happy", "happy", "sad", "sad"])
        0.75
    """
    _sklearn()
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=1).fit(np.asarray(features)).kneighbors(return_distance=False)[:, 0]
    names = np.asarray(groups)
    return float((names == names[nearest]).mean())


def embedding(points: npt.ArrayLike, colorings: Mapping[str, Sequence[str]]) -> Figure:
    """Draw images as points, once for each way of grouping them.

    The largest eight groups have a color and a marker each, the images of all others are small gray dots.

    Args:
        points: (n, 2), from `project`.
        colorings: Title to the group of each image: its class, who is on it, ...

    Returns:
        The figure: a panel for each coloring, all of the same points.

    Raises:
        InputError: If there is no coloring, or one has not a group for each point.

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
    if not colorings:
        raise InputError("no coloring of the points: give at least one, as {title: groups}")
    for title, groups in colorings.items():
        if len(groups) != len(places):
            raise InputError(f"coloring {title!r} has {len(groups)} groups for {len(places)} points: give one for each")
    figure = blank(4.6 * len(colorings), 4.9)
    for panel, (title, groups) in zip(
        figure.subplots(1, len(colorings), squeeze=False)[0], colorings.items(), strict=True
    ):
        _draw(panel, places, np.asarray(groups))
        panel.set_title(title, fontsize=TITLE)
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
        panel.scatter(x, y, s=16, c=color, marker=marker, linewidths=0, alpha=0.8, label=name)
    panel.set(xticks=[], yticks=[], aspect="equal")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3, fontsize=SMALL, frameon=False)


def _sklearn() -> Any:
    try:
        from sklearn import manifold
    except ImportError as error:
        raise InputError("embeddings need scikit-learn: pip install 'qcs[viz]'") from error
    return manifold
