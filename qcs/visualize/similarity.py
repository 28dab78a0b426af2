"""Draw similarity matrices of the tokens of two images (paper Fig. 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from qcs.errors import InputError
from qcs.visualize.attention import checked_faces
from qcs.visualize.figure import LABEL, SMALL, TITLE, blank, color_bar
from qcs.visualize.maps import PairMaps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 2.1  # inches, of a matrix
COLORS = "viridis"  # sequential, perceptually uniform, readable in grayscale print
MEASURES = {
    "cosine": "cosine",
    "dot product": "dot",
    "Euclidean similarity": "similarity",
}
UNITS = {"cosine": "cosine of the angle", "dot": "q·k / √C", "similarity": "largest distance − distance"}


def similarity_matrices(images: npt.ArrayLike, own: PairMaps, cross: PairMaps, *, level: int = -1) -> Figure:
    """Draw the similarity of tokens within one image and between two images, by three measures.

    The first row compares the first image with itself, the second row the first image (rows of the matrix) with the
    second (columns). The measures are cosine, scaled dot product and Euclidean similarity: the largest distance minus
    the distance. The last matrix of the second row is the one that cross similarity attention uses.

    Args:
        images: The two RGB faces (2, H, W, 3), uint8.
        own: `Comparison.pair` of the first image and itself.
        cross: `Comparison.pair` of the first and the second image.
        level: Which level to draw, counted from 0; -1 is the deepest.

    Returns:
        The figure: the two faces and six matrices, each with its own scale.

    Raises:
        InputError: If there are not two faces.

    Example:
        >>> import numpy as np, qcs, torch
        >>> from qcs.visualize import compare, similarity_matrices
        >>> compared = compare(qcs.create_model("dcs_nano"), torch.randn(2, 3, 48, 48))
        >>> faces = np.zeros((2, 48, 48, 3), np.uint8)
        >>> figure = similarity_matrices(faces, compared.pair(0, 0), compared.pair(0, 1))
        >>> [panel.get_title() for panel in figure.axes if panel.get_title()]
        ['cosine', 'dot product', 'Euclidean similarity']
    """
    faces = checked_faces(images)
    if len(faces) != 2:
        raise InputError(f"similarity matrices compare two images, got {len(faces)}")
    figure = blank(3 * (SIDE + 1.05) + 1.5, 2 * SIDE + 0.6)
    figure.set_layout_engine("compressed", wspace=0.12)  # keeps the label of a color bar off the next matrix
    grid = figure.subplots(2, 4, width_ratios=(0.6, 1, 1, 1))
    for line, face, pair, name in zip(grid, faces, (own, cross), ("first image", "second image"), strict=True):
        _draw_face(line[0], face, name)
        for panel, measure in zip(line[1:], MEASURES.values(), strict=True):
            _draw_matrix(panel, getattr(pair, measure)[level], UNITS[measure])
    for panel, title in zip(grid[0, 1:], MEASURES, strict=True):
        panel.set_title(title, fontsize=TITLE)
    for panel in grid[:, 1]:
        panel.set_ylabel("position, first image", fontsize=SMALL)
    for panels, name in zip(grid[:, 1:], ("first", "second"), strict=True):
        for panel in panels:
            panel.set_xlabel(f"position, {name} image", fontsize=SMALL)
    return figure


def _draw_face(panel: Axes, face: np.ndarray, name: str) -> None:
    panel.imshow(face)
    panel.set_anchor("W")  # away from the matrix's label
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
    panel.set_xlabel(name, fontsize=LABEL)


def _draw_matrix(panel: Axes, matrix: np.ndarray, unit: str) -> None:
    color_bar(panel, panel.imshow(matrix, COLORS), unit)
    panel.tick_params(labelsize=SMALL)
