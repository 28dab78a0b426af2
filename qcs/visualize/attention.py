"""Attention, other maps and masks laid over faces: where a network looks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qcs.errors import InputError
from qcs.visualize.figure import LABEL, PALETTE, blank, color_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL = 1.15  # inches: side of a face
MAP_COLORS = "magma"  # sequential, even in lightness, told apart with any color vision
MASK_COLOR = PALETTE[4]
UNIFORM = "attention × N\n(1 = uniform)"
LEAST, LEAST_TOLD = -20, "2⁻²⁰ or less"  # power of two that scales of equal factors begin at, and what they say there
OPACITY = 0.55  # of a map: the face below it stays readable
LUMA = (0.299, 0.587, 0.114)  # shares of red, green and blue in gray (ITU-R BT.601)


@dataclass(frozen=True)
class Overlay:
    """A row that says what its numbers are, scales them otherwise, or lies over other faces than those of the columns.

    Attributes:
        maps: What the row shows.
        unit: What stands beside the color scale of maps.
        doublings: Whether equal steps of color are equal factors of the value, which must not be below 0; values of
            less than 2⁻²⁰ are drawn as that, and the scale says so.
        faces: RGB faces (n, H, W, 3), uint8, to lay them over; None for those of the columns.
    """

    maps: npt.ArrayLike
    unit: str = "value"
    doublings: bool = False
    faces: npt.ArrayLike | None = None


def attention_rows(
    images: npt.ArrayLike, rows: Mapping[str, npt.ArrayLike | Overlay], *, column_titles: Sequence[str] | None = None
) -> Figure:
    """Draw faces in columns and, below them, rows of maps laid over the grayed faces.

    A row is one of these, told apart by shape and type:

    - attention weights (n, N), N = g·g tokens of a g x g grid, row by row, summing to 1 over the tokens. They are
      drawn times N, so that 1 is what uniform attention would give on any grid;
    - maps (n, h, w) of real numbers, drawn as they are; an `Overlay` names their unit;
    - masks (n, H, W) of booleans, drawn as tinted, outlined areas.

    All maps of a row share one sequential scale, from the row's lowest to its highest value, given by the color bar at
    its end: colors compare within a row, not between rows. Coarse maps are upsampled bicubically.

    Args:
        images: RGB faces, (n, H, W, 3), uint8.
        rows: Row label to what the row shows.
        column_titles: A title for each face.

    Returns:
        The figure: a row of faces, then one row for each of `rows`.

    Raises:
        InputError: If a shape or type fits none of these, or weights do not sum to 1.

    Example:
        >>> import numpy as np
        >>> from qcs.visualize import attention_rows
        >>> faces = np.zeros((2, 48, 48, 3), np.uint8)
        >>> figure = attention_rows(faces, {"level 1": np.full((2, 49), 1 / 49)}, column_titles=["happy", "sad"])
        >>> [panel.get_title() for panel in figure.axes if panel.get_title()]
        ['happy', 'sad']
    """
    faces = checked_faces(images)
    if not rows:
        raise InputError("no row to draw over the faces: give at least one, as {label: weights}")
    if column_titles is not None and len(column_titles) != len(faces):
        raise InputError(f"{len(column_titles)} column titles for {len(faces)} images: give one per image")
    figure = blank(CELL * len(faces) + 2, CELL * (1 + len(rows)) + 0.3)
    first, *others = _panels(figure, ["face", *rows], column_titles or [""] * len(faces))
    for panel, face in zip(first, faces, strict=True):
        panel.imshow(face)
    for line, (label, row) in zip(others, rows.items(), strict=True):
        overlay = row if isinstance(row, Overlay) else Overlay(row)
        below = faces if overlay.faces is None else checked_faces(overlay.faces)
        if len(below) != len(faces):
            raise InputError(f"row {label!r} lies over {len(below)} faces: expected {len(faces)}, one per column")
        grays = below @ LUMA
        for panel, gray in zip(line, grays, strict=True):
            panel.imshow(gray, "gray", vmin=0, vmax=255)
        _draw_row(line, label, overlay, grays.shape)
    return figure


def powers_of_two(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The power of two that each value is, for scales of equal factors; at least `LEAST`, for 0 is none.

    Example:
        >>> powers_of_two(np.array([4.0, 0.5, 0.0])).tolist()
        [2.0, -1.0, -20.0]
    """
    powers: npt.NDArray[Any] = np.log2(np.maximum(values, 2.0**LEAST))
    return powers


def checked_faces(images: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """RGB faces (n, H, W, 3), uint8, at least one."""
    faces = np.asarray(images)
    if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[-1] != 3 or len(faces) == 0:
        raise InputError(f"images are {faces.dtype} {faces.shape}: expected uint8 (n, H, W, 3) with at least one image")
    return faces


def _panels(figure: Figure, labels: Sequence[str], titles: Sequence[str]) -> np.ndarray:
    """A frameless panel for every label (down) and title (across)."""
    panels: np.ndarray = figure.subplots(len(labels), len(titles), squeeze=False)
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    for panel, label in zip(panels[:, 0], labels, strict=True):
        panel.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=LABEL)
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set_title(title, fontsize=LABEL)
    return panels


def _draw_row(panels: Sequence[Axes], label: str, row: Overlay, shape: tuple[int, ...]) -> None:
    values = np.asarray(row.maps)
    is_mask, fits = values.dtype == bool, values.shape[:1] == shape[:1]
    if is_mask and values.shape == shape:
        _draw_masks(panels, values)
    elif not is_mask and fits and values.ndim in (2, 3):
        maps, unit = (_relative_to_uniform(label, values), UNIFORM) if values.ndim == 2 else (values, row.unit)
        if not np.isfinite(maps).all():
            raise InputError(
                f"maps of row {label!r} hold values that are not finite: replace them or leave the row out"
            )
        if row.doublings and (maps < 0).any():
            raise InputError(f"maps of row {label!r} hold values below 0: draw them without doublings")
        _draw_maps(panels, maps, unit, shape, row.doublings)
    else:
        n, height, width = shape
        raise InputError(
            f"row {label!r} is {values.dtype} {values.shape}: expected attention weights ({n}, N), maps ({n}, h, w) or "
            f"boolean masks ({n}, {height}, {width}) for {n} images"
        )


def _relative_to_uniform(label: str, weights: np.ndarray) -> np.ndarray:
    """(n, N) weights as (n, g, g) multiples of the uniform weight 1/N."""
    tokens = weights.shape[1]
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise InputError(
            f"row {label!r} has {tokens} attention weights per image, no square grid: give every feature level its row"
        )
    if not np.allclose(weights.sum(axis=1), 1, atol=1e-3):
        raise InputError(f"weights of row {label!r} do not sum to 1 over the tokens: give the attention after softmax")
    relative: np.ndarray = tokens * weights.reshape(-1, side, side)
    return relative


def _draw_maps(panels: Sequence[Axes], maps: np.ndarray, unit: str, shape: tuple[int, ...], doublings: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    maps = powers_of_two(maps) if doublings else maps
    low, high = _scale(maps)
    _, height, width = shape
    for panel, values in zip(panels, maps, strict=True):
        overlay = panel.imshow(
            values,
            MAP_COLORS,
            vmin=low,
            vmax=high,
            alpha=OPACITY,
            interpolation="bicubic",
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        )
    cut = doublings and maps.min() <= LEAST
    bar = color_bar(panels[-1], overlay, f"{unit}\n(lowest: {LEAST_TOLD})" if cut else unit)
    if doublings:
        wide = high - low > 2  # else whole doublings would leave the scale with a number or two
        bar.yaxis.set_major_locator(MaxNLocator(5, integer=wide))
        bar.yaxis.set_major_formatter(lambda power, _: _power_of_two(round(power)) if wide else f"{2**power:.2f}")
    bar.set_facecolor("0.5")  # the colors as they look on a face of middle gray


def _scale(maps: np.ndarray) -> tuple[float, float]:
    """Lowest and highest value; where they all but agree, a range around them that shows no rounding noise."""
    low, high = float(maps.min()), float(maps.max())
    if math.isclose(low, high, rel_tol=1e-3):
        margin = abs(low) / 2 or 1.0
        return low - margin, high + margin
    return low, high


def _power_of_two(exponent: int) -> str:
    return f"{2**exponent}" if exponent >= 0 else f"1/{2**-exponent}"


def _draw_masks(panels: Iterable[Axes], masks: np.ndarray) -> None:
    for panel, mask in zip(panels, masks, strict=True):
        if mask.any():
            panel.contourf(mask, levels=(0.5, 1.5), colors=MASK_COLOR, alpha=0.35)
        if mask.any() and not mask.all():
            panel.contour(mask, levels=(0.5,), colors=MASK_COLOR, linewidths=1.5)
