"""Draw a reliability diagram: accuracy by confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qcs.errors import InputError
from qcs.visualize.figure import LABEL, PALETTE, SMALL, blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reliability_diagram(accuracy: npt.ArrayLike, counts: npt.ArrayLike) -> Figure:
    """Draw the accuracy in bins of the confidence, and the number of images in each bin.

    Args:
        accuracy: Accuracy in [0, 1] in each bin, (bins,); NaN if a bin is empty. The bins divide the confidence from 0
            to 1 into equal widths.
        counts: Images in each bin, (bins,).

    Returns:
        The figure: accuracy above, with the diagonal of perfect calibration, and counts below.

    Raises:
        InputError: If the shapes differ or there is no image.

    Example:
        >>> from qcs.visualize import reliability_diagram
        >>> figure = reliability_diagram([float("nan"), 0.9], [0, 30])
        >>> [panel.get_ylabel() for panel in figure.axes]
        ['accuracy in %', 'images']
    """
    heights, images = np.asarray(accuracy, dtype=float), np.asarray(counts)
    if heights.shape != images.shape or heights.ndim != 1 or not images.sum() > 0:
        raise InputError(
            f"accuracy has shape {heights.shape}, counts {images.shape} of {images.sum():,} images: give one of both "
            "per bin, and at least one image"
        )
    width = 100 / len(heights)
    middles = width * (np.arange(len(heights)) + 0.5)
    held = images > 0
    figure = blank(3.6, 3.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.bar(middles[held], 100 * heights[held], 0.9 * width, color=PALETTE[0])
    upper.plot([0, 100], [0, 100], "--", color="0.3", linewidth=1)
    upper.set_ylim(0, 100)
    upper.set_ylabel("accuracy in %", fontsize=LABEL)
    lower.bar(middles, images, 0.9 * width, color=PALETTE[4])
    lower.set_xlim(0, 100)
    lower.set_ylabel("images", fontsize=LABEL)
    lower.set_xlabel("confidence in %", fontsize=LABEL)
    for panel in (upper, lower):
        panel.tick_params(labelsize=SMALL)
        panel.grid(color="0.9", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    return figure
