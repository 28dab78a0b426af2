"""Confusion matrices: every percentage on the picture follows from the counts."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from matplotlib.axes import Axes

from qcs.errors import InputError
from qcs.visualize import confusion_matrices

CLASSES = ["happy", "sad", "fear"]
COUNTS = np.array([[8, 2, 0], [1, 2, 1], [0, 1, 1]])


def cells(panel: Axes) -> dict[tuple[float, float], str]:
    """(row, column) -> text."""
    return {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in panel.texts}


def drawn(panel: Axes) -> np.ma.MaskedArray:
    return np.ma.asarray(panel.images[0].get_array())


def test_cells_show_the_share_of_the_true_class_and_zeros_are_hidden() -> None:
    panel = confusion_matrices({"QCS": COUNTS}, CLASSES).axes[0]
    assert cells(panel) == {
        (0, 0): "80.0",
        (0, 1): "20.0",
        (1, 0): "25.0",
        (1, 1): "50.0",
        (1, 2): "25.0",
        (2, 1): "50.0",
        (2, 2): "50.0",
    }
    np.testing.assert_allclose(drawn(panel), [[80, 20, 0], [25, 50, 25], [0, 50, 50]])


def test_title_gives_accuracy_and_balanced_accuracy() -> None:
    panel = confusion_matrices({"QCS": COUNTS}, CLASSES).axes[0]
    assert panel.get_title() == "QCS\naccuracy 68.75 %, balanced 60.00 %"  # 11/16 and (80 + 50 + 50)/3


def test_counts_in_a_small_integer_type_do_not_overflow() -> None:
    small, wide = confusion_matrices({"QCS": COUNTS.astype(np.uint8), "same": COUNTS}, CLASSES).axes
    assert cells(small) == cells(wide)


def test_matrices_stand_side_by_side_on_one_scale_with_one_bar() -> None:
    panels = confusion_matrices({"base": COUNTS, "QCS": COUNTS.T}, CLASSES).axes
    assert [panel.get_title().split("\n")[0] for panel in panels] == ["base", "QCS"]
    assert {panel.images[0].get_clim() for panel in panels} == {(0, 100)}
    assert [bar.get_ylabel() for panel in panels for bar in panel.child_axes] == ["% of the true class"]


def test_rows_are_the_truth_and_columns_the_prediction() -> None:
    left, right = confusion_matrices({"base": COUNTS, "QCS": COUNTS}, CLASSES).axes
    assert (left.get_ylabel(), left.get_xlabel(), right.get_xlabel()) == ("truth", "prediction", "prediction")
    assert [label.get_text() for label in left.get_yticklabels()] == CLASSES
    assert [label.get_text() for label in right.get_xticklabels()] == CLASSES


def test_text_is_light_on_dark_cells_and_dark_on_light_ones() -> None:
    panel = confusion_matrices({"QCS": COUNTS}, CLASSES).axes[0]
    colors = {text.get_text(): text.get_color() for text in panel.texts}
    assert colors["80.0"] == "white"
    assert colors["20.0"] == "black"


def test_a_class_without_images_is_empty_and_outside_the_balanced_accuracy() -> None:
    counts = COUNTS.copy()
    counts[2] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        panel = confusion_matrices({"QCS": counts}, CLASSES).axes[0]
    assert panel.get_title().endswith("accuracy 71.43 %, balanced 65.00 %")  # 10/14 and (80 + 50)/2
    assert np.ma.getmaskarray(drawn(panel)).tolist() == [[False] * 3, [False] * 3, [True] * 3]
    assert cells(panel)[2, 1] == "no images"


def test_long_class_names_do_not_reach_into_the_neighboring_matrix() -> None:
    classes = [f"{name} with a long name" for name in CLASSES]
    figure = confusion_matrices({"base": COUNTS, "QCS": COUNTS}, classes)
    figure.draw_without_rendering()
    left, right = figure.axes
    labels = [label.get_window_extent() for label in left.get_yticklabels()]
    assert min(label.x0 for label in labels) >= 0
    assert max(label.x1 for label in labels) <= left.get_window_extent().x0
    assert left.get_window_extent().x1 < right.get_window_extent().x0


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        ({}, "no confusion matrix"),
        ({"QCS": COUNTS[:2]}, r"'QCS' has shape \(2, 3\): expected \(3, 3\)"),
        ({"QCS": -COUNTS}, "below zero"),
        ({"QCS": np.full((3, 3), np.nan)}, "not a number"),
        ({"QCS": np.zeros((3, 3))}, "counts no image"),
    ],
)
def test_what_is_no_confusion_matrix_is_refused(matrices: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        confusion_matrices(matrices, CLASSES)
