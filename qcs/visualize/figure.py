"""The look shared by all pictures, and how a picture reaches the disk."""

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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# Sizes in points; given to every text explicitly, so that a reader's own matplotlib settings do not break the layout.
TITLE = 10
LABEL = 9
SMALL = 8

DPI = 150

# Okabe and Ito's palette, told apart with any color vision; its yellow is left out, being too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


def blank(width: float, height: float) -> Figure:
    """An empty figure that belongs to no window, to be filled by the functions of this package.

    Args:
        width: In inches.
        height: In inches.

    Returns:
        The figure; it makes room for labels by itself and keeps panels of fixed shape together.

    Raises:
        InputError: If matplotlib is not installed.

    Example:
        >>> from qcs.visualize.figure import blank
        >>> blank(4, 3).axes
        []
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("pictures need matplotlib: pip install 'qcs[viz]'") from error
    return Figure(figsize=(width, height), layout="compressed")


def color_bar(panel: Axes, image: AxesImage, label: str) -> Axes:
    """Put the color scale of an image to the right of its panel, exactly as high.

    Args:
        panel: Whose right side the bar goes to.
        image: What the colors stand for values in.
        label: What the values are, with their unit.

    Returns:
        The panel of the bar.

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
    """Write a figure, and on request the numbers behind it beside it; all of it whole or nothing.

    Args:
        figure: What to write.
        path: Where to; the suffix chooses the format (.png, .pdf, .svg, ...). Missing folders are made, and a file
            already there is replaced.
        arrays: Name to array, for a `.npz` archive of the picture's name.
        facts: Names and single numbers, for a `.json` file of the picture's name.

    Returns:
        The path of the picture.

    Raises:
        InputError: If matplotlib writes no such format.
        OSError: If the folder cannot be made or written to.

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
    look: dict[str, Any] = dict(format=kind, dpi=DPI, bbox_inches="tight", pad_inches=0.05)
    files: dict[Path, Callable[[Path], object]] = {path: lambda unfinished: figure.savefig(unfinished, **look)}
    if arrays is not None:
        files[path.with_suffix(".npz")] = lambda unfinished: _write_arrays(unfinished, arrays)
    if facts is not None:
        text = json.dumps(facts, indent=2) + "\n"
        files[path.with_suffix(".json")] = lambda unfinished: unfinished.write_text(text, encoding="utf-8")
    _write(files)
    return path


def _write(files: Mapping[Path, Callable[[Path], object]]) -> None:
    """Write all under other names first."""
    with ExitStack() as all_written:
        for path, write in files.items():
            write(all_written.enter_context(replacing(path)))


def _write_arrays(path: Path, arrays: Mapping[str, npt.ArrayLike]) -> None:
    contents: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    with path.open("wb") as file:  # given a name, numpy would change it
        np.savez_compressed(file, **contents)
