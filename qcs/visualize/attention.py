"""Draw attention weights, other maps and masks over faces."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qcs.errors import InputError
from qcs.escaping import drawable
from qcs.visualize.figure import LABEL, PALETTE, blank, color_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL = 1.15  # inches: side of a face
MAP_COLORS = "magma"  # sequential, perceptually uniform, safe for color blindness
MASK_COLOR = PALETTE[4]
UNIFORM = "attention × N\n(1 = uniform)"
LOWEST, LOWEST_LABEL = -20, "2⁻²⁰ or less"  # lowest exponent of a logarithmic scale, and its label
OPACITY = 0.55  # of a map, so that the face below stays visible
LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in grayscale (ITU-R BT.601)


@dataclass(frozen=True)
class Overlay:
    """A row of maps with a unit, a logarithmic scale, or faces of its own.

    Attributes:
        maps: Weights, maps or masks, as for `attention_rows`.
        unit: Label of the color bar of maps.
        log_scale: Whether colors are logarithmic in the values, which must then be at least 0. Values below 2⁻²⁰ are
            drawn as 2⁻²⁰, and the color bar says so.
        faces: RGB faces (n, H, W, 3), uint8, to draw over; None for the faces of the columns.
    """

    maps: npt.ArrayLike
    unit: str = "value"
    log_scale: bool = False
    faces: npt.ArrayLike | None = None


def attention_rows(
    images: npt.ArrayLike, rows: Mapping[str, npt.ArrayLike | Overlay], *, column_titles: Sequence[str] | None = None
) -> Figure:
    """Draw faces in columns and, below them, rows of maps over the faces in grayscale.

    Shape and type decide what a row is:

    - attention weights (n, N), N = g·g tokens of a g x g grid, row by row, summing to 1 over the tokens. They are
      drawn times N, so that 1 is uniform attention on any grid;
    - maps (n, h, w) of real numbers, drawn unchanged; an `Overlay` gives their unit;
    - masks (n, H, W) of booleans, drawn as tinted, outlined areas.

    All maps of a row share one color scale, from the lowest to the highest value of the row, with a color bar at its
    end. Compare colors within a row, not between rows. Coarse maps are upsampled bicubically.

    Args:
        images: RGB faces, (n, H, W, 3), uint8.
        rows: Content of each row by its label.
        column_titles: A title for each face.

    Returns:
        The figure: a row of faces, then one row for each of `rows`.

    Raises:
        InputError: If a row fits none of these, or weights do not sum to 1.

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
            raise InputError(f"row {label!r} has {len(below)} faces: expected {len(faces)}, one per column")
        grays = below @ LUMA
        for panel, gray in zip(line, grays, strict=True):
            panel.imshow(gray, "gray", vmin=0, vmax=255)
        _draw_row(line, label, overlay, grays.shape)
    return figure


def clipped_log2(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the base-2 logarithm of values, at least `LOWEST`, for logarithmic color scales.

    Example:
        >>> clipped_log2(np.array([4.0, 0.5, 0.0])).tolist()
        [2.0, -1.0, -20.0]
    """
    powers: npt.NDArray[Any] = np.log2(np.maximum(values, 2.0**LOWEST))
    return powers


def checked_faces(images: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Check and return RGB faces (n, H, W, 3), uint8, at least one."""
    faces = np.asarray(images)
    if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[-1] != 3 or len(faces) == 0:
        raise InputError(f"images are {faces.dtype} {faces.shape}: expected uint8 (n, H, W, 3) with at least one image")
    return faces


def _panels(figure: Figure, labels: Sequence[str], titles: Sequence[str]) -> np.ndarray:
    """Return frameless panels, one for every label (rows) and title (columns)."""
    panels: np.ndarray = figure.subplots(len(labels), len(titles), squeeze=False)
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    for panel, label in zip(panels[:, 0], labels, strict=True):
        panel.set_ylabel(drawable(label), rotation=0, ha="right", va="center", fontsize=LABEL)
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set_title(drawable(title), fontsize=LABEL)
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
        if row.log_scale and (maps < 0).any():
            raise InputError(f"maps of row {label!r} hold values below 0: draw them without log_scale")
        _draw_maps(panels, maps, unit, shape, row.log_scale)
    else:
        n, height, width = shape
        raise InputError(
            f"row {label!r} is {values.dtype} {values.shape}: expected attention weights ({n}, N), maps ({n}, h, w) or "
            f"boolean masks ({n}, {height}, {width}) for {n} images"
        )


def _relative_to_uniform(label: str, weights: np.ndarray) -> np.ndarray:
    """Convert weights (n, N) to multiples of the uniform weight 1/N, (n, g, g)."""
    tokens = weights.shape[1]
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise InputError(
            f"row {label!r} has {tokens} attention weights per image, not a square grid: give each feature "
            "level a row of its own"
        )
    if not np.allclose(weights.sum(axis=1), 1, atol=1e-3):
        raise InputError(f"weights of row {label!r} do not sum to 1 over the tokens: give the attention after softmax")
    relative: np.ndarray = tokens * weights.reshape(-1, side, side)
    return relative


def _draw_maps(panels: Sequence[Axes], maps: np.ndarray, unit: str, shape: tuple[int, ...], log_scale: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    maps = clipped_log2(maps) if log_scale else maps
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
    cut = log_scale and maps.min() <= LOWEST
    bar = color_bar(panels[-1], overlay, f"{unit}\n(lowest: {LOWEST_LABEL})" if cut else unit)
    if log_scale:
        wide = high - low > 2  # otherwise whole powers of two would leave the scale with one or two numbers
        bar.yaxis.set_major_locator(MaxNLocator(5, integer=wide))
        bar.yaxis.set_major_formatter(lambda power, _: _power_of_two(round(power)) if wide else f"{2**power:.2f}")
    bar.set_facecolor("0.5")  # shows the colors as over a face of middle gray


def _scale(maps: np.ndarray) -> tuple[float, float]:
    """Return lowest and highest value; if they are nearly equal, a range around them that hides rounding noise."""
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
