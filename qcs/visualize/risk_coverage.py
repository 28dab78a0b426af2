"""Draw the share of wrong answers by the share of images that are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qcs.errors import InputError
from qcs.visualize.figure import LABEL, PALETTE, SMALL, blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def risk_coverage_curve(coverage: npt.ArrayLike, risk: npt.ArrayLike) -> Figure:
    """Draw the share of wrong answers (risk) by the share of images that are answered (coverage).

    Args:
        coverage: Shares of the images in (0, 1], (n,).
        risk: Share of wrong answers among these images, in [0, 1], (n,).

    Returns:
        The figure.

    Raises:
        InputError: If the shapes differ or there is no value.

    Example:
        >>> from qcs.visualize import risk_coverage_curve
        >>> risk_coverage_curve([0.5, 1.0], [0.0, 0.25]).axes[0].get_ylabel()
        'wrong answers in %'
    """
    across, up = np.asarray(coverage, dtype=float), np.asarray(risk, dtype=float)
    if across.shape != up.shape or across.ndim != 1 or not across.size:
        raise InputError(
            f"coverage has shape {across.shape}, risk {up.shape}; expected equally many values, at least one"
        )
    figure = blank(3.6, 2.6)
    panel = figure.subplots()
    panel.plot(100 * across, 100 * up, color=PALETTE[0])
    panel.set_xlim(0, 100)
    panel.set_ylim(0, None)
    panel.set_xlabel("images answered in %", fontsize=LABEL)
    panel.set_ylabel("wrong answers in %", fontsize=LABEL)
    panel.tick_params(labelsize=SMALL)
    panel.grid(color="0.9", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    return figure
