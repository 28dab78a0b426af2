"""Draw confusion matrices side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qcs.errors import InputError
from qcs.escaping import drawable
from qcs.visualize.figure import LABEL, SMALL, TITLE, blank, color_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

CELL = 0.46  # inches: "100.0" fits at the small text size


def confusion_matrices(matrices: Mapping[str, npt.ArrayLike], classes: Sequence[str]) -> Figure:
    """Draw confusion matrices side by side, each row in percent of its true class.

    Each title states accuracy and balanced accuracy, the mean recall over the classes that have images, computed from
    the counts. Cells without images have no number.

    Args:
        matrices: Counts of images (K, K) by name; rows are true classes, columns predicted classes.
        classes: The K class names, in the order of the rows.

    Returns:
        The figure: one panel per matrix and a shared color bar from 0 to 100%.

    Raises:
        InputError: If there is no matrix, or one is not (K, K), has a negative count, or counts no image.

    Example:
        >>> from qcs.visualize import confusion_matrices
        >>> figure = confusion_matrices({"DCS": [[9, 1], [2, 3]]}, ["happy", "sad"])
        >>> print(figure.axes[0].get_title())
        DCS
        accuracy 80.00 %, balanced 75.00 %
    """
    if not matrices:
        raise InputError("no confusion matrix to draw: give at least one, as {name: counts}")
    counted = {name: _counts(name, matrix, len(classes)) for name, matrix in matrices.items()}
    side = max(CELL * len(classes), 2.4)
    figure = blank(len(counted) * (side + 0.25) + 1.9, side + 1.5)
    panels = figure.subplots(1, len(counted), squeeze=False)[0]
    names = [drawable(name) for name in classes]
    images = [_draw(panel, name, counts) for panel, (name, counts) in zip(panels, counted.items(), strict=True)]
    for panel in panels:
        panel.set_xticks(range(len(classes)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=SMALL)
        panel.set_yticks([])
        panel.set_xlabel("prediction", fontsize=LABEL)
    panels[0].set_yticks(range(len(classes)), names, fontsize=SMALL)
    panels[0].set_ylabel("truth", fontsize=LABEL)
    color_bar(panels[-1], images[-1], "% of the true class")
    return figure


def _counts(name: str, matrix: npt.ArrayLike, classes: int) -> np.ndarray:
    counts = np.asarray(matrix, dtype=float)  # small integer types would overflow in percentages
    if counts.shape != (classes, classes):
        raise InputError(
            f"confusion matrix {name!r} has shape {counts.shape}: expected {(classes, classes)} for {classes} classes"
        )
    if not (counts >= 0).all():
        raise InputError(f"confusion matrix {name!r} holds a value below zero or not a number: give counts of images")
    if counts.sum() == 0:
        raise InputError(f"confusion matrix {name!r} counts no image: evaluate at least one")
    return counts


def _draw(panel: Axes, name: str, counts: np.ndarray) -> AxesImage:
    totals = counts.sum(axis=1, keepdims=True)
    unseen = totals == 0
    percent = 100 * counts / np.where(unseen, 1, totals)
    accuracy = 100 * np.trace(counts) / counts.sum()
    balanced = percent.diagonal()[~unseen[:, 0]].mean()
    panel.set_title(f"{drawable(name)}\naccuracy {accuracy:.2f} %, balanced {balanced:.2f} %", fontsize=TITLE)
    panel.set_facecolor("0.92")  # visible in rows of classes without images
    image = panel.imshow(np.ma.array(percent, mask=np.tile(unseen, len(counts))), "Blues", vmin=0, vmax=100)
    for row, column in np.argwhere(counts > 0).tolist():
        share = percent[row, column]
        color = "white" if share > 55 else "black"
        panel.text(column, row, f"{share:.1f}", ha="center", va="center", color=color, fontsize=SMALL)
    for row in np.flatnonzero(unseen).tolist():
        panel.text((len(counts) - 1) / 2, row, "no images", ha="center", va="center", color="0.4", fontsize=SMALL)
    return image
