"""Draw differences with their intervals as an SVG image that is a function of the numbers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, LEFT, RIGHT = 640, 270, 20  # pixels: whole image, labels, margin
ROW, TOP, BOTTOM = 34, 16, 58
INK, SOFT, DOT = "#1f2328", "#d0d7de", "#0072b2"


class Bar(NamedTuple):
    """A row of the figure.

    Attributes:
        label: What is compared.
        mean: Mean difference.
        margin: Half the width of its confidence interval; NaN draws no interval.
    """

    label: str
    mean: float
    margin: float


def intervals(bars: Sequence[Bar], axis: str) -> str:
    """Draw a row per difference: a dot for the mean, a line for the interval, and a vertical line at zero.

    Args:
        bars: The rows, from top to bottom.
        axis: Label of the horizontal axis.

    Returns:
        The SVG document.

    Example:
        >>> intervals([Bar("qcs and base", 1.0, 0.5)], "difference").count("<circle")
        1
    """
    reach = max((abs(bar.mean) + (0 if math.isnan(bar.margin) else bar.margin) for bar in bars), default=1) or 1
    step = 10 ** math.floor(math.log10(reach))
    step = next(step * factor for factor in (0.5, 1, 2, 5) if reach <= 4 * step * factor)
    limit = math.ceil(reach / step) * step
    bottom = TOP + ROW * len(bars)

    def x(value: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (value + limit) / (2 * limit), 1)

    parts = []
    for number in range(round(-limit / step), round(limit / step) + 1):
        at, color = x(number * step), INK if number == 0 else SOFT
        parts.append(f'<path d="M{at} {TOP}V{bottom}" stroke="{color}"/>')
        text = f"{number * step:+g}" if number else "0"
        parts.append(f'<text x="{at}" y="{bottom + 20}" text-anchor="middle">{text}</text>')
    for row, bar in enumerate(bars):
        y = TOP + ROW * row + ROW // 2
        parts.append(f'<text x="{LEFT - 12}" y="{y + 5}" text-anchor="end">{escape(bar.label)}</text>')
        if not math.isnan(bar.margin):
            ends = x(bar.mean - bar.margin), x(bar.mean + bar.margin)
            parts.append(f'<path d="M{ends[0]} {y}H{ends[1]}" stroke="{DOT}" stroke-width="3"/>')
        parts.append(f'<circle cx="{x(bar.mean)}" cy="{y}" r="6" fill="{DOT}"/>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) // 2}" y="{bottom + 44}" text-anchor="middle">{escape(axis)}</text>'
    )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + BOTTOM}" '
        f'font-family="system-ui, sans-serif" font-size="16" fill="{INK}">\n'
        f'<rect width="100%" height="100%" rx="8" fill="#fff"/>\n{body}\n</svg>\n'
    )
