"""Define the style of all figures, and save figures with their data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qcs.errors import InputError
from qcs.files import replacing
from qcs.imports import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# Font sizes in points, set on every text so that the user's matplotlib settings do not break the layout.
TITLE = 10
LABEL = 9
SMALL = 8

DPI = 150

# Palette of Okabe and Ito, safe for color blindness, without its yellow, which is too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


def blank(width: float, height: float) -> Figure:
    """Create an empty figure without a window.

    Args:
        width: In inches.
        height: In inches.

    Returns:
        The figure, with a layout that makes room for labels and keeps panels of fixed aspect together.

    Raises:
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> from qcs.visualize.figure import blank
        >>> blank(4, 3).axes
        []
    """
    require("matplotlib", extra="viz", purpose="drawing")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="compressed")


def color_bar(panel: Axes, image: AxesImage, label: str) -> Axes:
    """Add the color bar of an image to the right of its panel, with the same height.

    Args:
        panel: The panel of the image.
        image: The image.
        label: Name and unit of the values.

    Returns:
        The axes of the color bar.

    Example:
        >>> from qcs.visualize.figure import blank, color_bar
        >>> panel = blank(4, 3).subplots()
        >>> color_bar(panel, panel.imshow([[0, 100]]), "share in %").get_ylabel()
        'share in %'
    """
    bar = panel.inset_axes((1.05, 0, 0.05, 1))
    panel.figure.colorbar(image, cax=bar)
    bar.set_ylabel(label, fontsize=SMALL)
    bar.tick_params(labelsize=SMALL)
    return bar


def save(
    figure: Figure,
    path: str | Path,
    *,
    arrays: Mapping[str, npt.ArrayLike] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Save a figure and, if given, its arrays and facts beside it; all files are written, or none.

    Args:
        figure: The figure.
        path: File to write; its suffix sets the format (.png, .pdf, .svg, ...). Missing folders are created, an
            existing file is replaced.
        arrays: Arrays by name, for an `.npz` archive with the name of the figure.
        facts: Names and single numbers, for a `.json` file with the name of the figure.

    Returns:
        The path of the figure.

    Raises:
        InputError: If matplotlib cannot write the format.
        OSError: If the folder cannot be created or written to.

    Example:
        >>> import tempfile
        >>> from qcs.visualize import confusion_matrices, save
        >>> figure = confusion_matrices({"ours": [[9, 1], [2, 8]]}, ["happy", "sad"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save(figure, f"{folder}/pictures/confusion.png", facts={"split": "test"})
        ...     sorted(file.name for file in path.parent.iterdir())
        ['confusion.json', 'confusion.png']
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise InputError(
            f"cannot write a picture to {path.name!r}: end its name in one of .{', .'.join(sorted(known))}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    style: dict[str, Any] = dict(format=kind, dpi=DPI, bbox_inches="tight", pad_inches=0.05)
    files: dict[Path, Callable[[Path], object]] = {path: lambda unfinished: figure.savefig(unfinished, **style)}
    if arrays is not None:
        files[path.with_suffix(".npz")] = lambda unfinished: _write_arrays(unfinished, arrays)
    if facts is not None:
        text = json.dumps(facts, indent=2) + "\n"
        files[path.with_suffix(".json")] = lambda unfinished: unfinished.write_text(text, encoding="utf-8")
    _write(files)
    return path


def _write(files: Mapping[Path, Callable[[Path], object]]) -> None:
    """Write all files under temporary names, then rename them."""
    with ExitStack() as all_written:
        for path, write in files.items():
            write(all_written.enter_context(replacing(path)))


def _write_arrays(path: Path, arrays: Mapping[str, npt.ArrayLike]) -> None:
    contents: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    with path.open("wb") as file:  # NumPy would append .npz to a path
        np.savez_compressed(file, **contents)
