"""Faces, attention, maps and masks: what is drawn equals what was given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes

from qcs.errors import InputError
from qcs.visualize import Overlay, attention_rows

RANDOM = np.random.default_rng(0)
FACES = RANDOM.integers(0, 256, (3, 24, 20, 3), dtype=np.uint8)
WEIGHTS = RANDOM.dirichlet(np.ones(49), size=3)
MAPS = RANDOM.normal(size=(3, 4, 5))
MASKS = np.zeros((3, 24, 20), bool)
MASKS[0, 5:15, 4:12] = True
MASKS[2] = True


def grid(axes: list[Axes], columns: int = 3) -> list[list[Axes]]:
    panels = [panel for panel in axes if panel.get_subplotspec() is not None]
    return [panels[start : start + columns] for start in range(0, len(panels), columns)]


def drawn(panel: Axes, layer: int) -> np.ndarray:
    return np.asarray(panel.images[layer].get_array())


def test_first_row_shows_the_faces_untouched_and_every_other_row_shows_them_gray() -> None:
    faces, overlaid = grid(attention_rows(FACES, {"w": WEIGHTS}).axes)
    for panel, face in zip(faces, FACES, strict=True):
        np.testing.assert_array_equal(drawn(panel, 0), face)
    for panel, face in zip(overlaid, FACES, strict=True):
        np.testing.assert_allclose(drawn(panel, 0), face @ [0.299, 0.587, 0.114])


def test_weights_are_drawn_as_multiples_of_uniform_on_their_grid() -> None:
    _, row = grid(attention_rows(FACES, {"w": WEIGHTS}).axes)
    for panel, weights in zip(row, WEIGHTS, strict=True):
        np.testing.assert_allclose(drawn(panel, 1), 49 * weights.reshape(7, 7))
        assert drawn(panel, 1).mean() == pytest.approx(1)


def test_overlay_covers_the_whole_face_whatever_its_grid() -> None:
    _, weights, maps = grid(attention_rows(FACES, {"w": WEIGHTS, "m": MAPS}).axes)
    for panel in [*weights, *maps]:
        assert panel.images[1].get_extent() == panel.images[0].get_extent()


def test_images_of_a_row_share_one_scale_and_rows_do_not() -> None:
    _, weights, maps = grid(attention_rows(FACES, {"w": WEIGHTS, "m": MAPS}).axes)
    assert {panel.images[1].get_clim() for panel in weights} == {(49 * WEIGHTS.min(), 49 * WEIGHTS.max())}
    assert {panel.images[1].get_clim() for panel in maps} == {(MAPS.min(), MAPS.max())}


def test_every_row_of_maps_has_a_color_bar_with_its_unit_and_masks_have_none() -> None:
    panels = attention_rows(FACES, {"w": WEIGHTS, "occluded": MASKS, "m": MAPS}).axes
    assert [bar.get_ylabel() for panel in panels for bar in panel.child_axes] == [
        "attention × N\n(1 = uniform)",
        "value",
    ]


def test_uniform_attention_is_drawn_in_the_middle_of_the_scale_and_not_as_noise() -> None:
    _, row = grid(attention_rows(FACES, {"w": np.full((3, 49), 1 / 49)}).axes)
    assert row[0].images[1].get_clim() == pytest.approx((0.5, 1.5))


def test_a_map_of_zeros_has_a_scale() -> None:
    _, row = grid(attention_rows(FACES, {"m": np.zeros((3, 2, 2))}).axes)
    assert row[0].images[1].get_clim() == (-1, 1)


def test_an_overlay_names_its_unit_and_lies_over_other_faces() -> None:
    others = 255 - FACES
    figure = attention_rows(FACES, {"m": Overlay(MAPS, "share", faces=others)})
    _, row = grid(figure.axes)
    for panel, face, values in zip(row, others, MAPS, strict=True):
        np.testing.assert_allclose(drawn(panel, 0), face @ [0.299, 0.587, 0.114])
        np.testing.assert_array_equal(drawn(panel, 1), values)
    assert [bar.get_ylabel() for panel in figure.axes for bar in panel.child_axes] == ["share"]


def test_log_scale_of_uniform_attention_have_steps_of_equal_factors() -> None:
    figure = attention_rows(FACES, {"w": Overlay(WEIGHTS, log_scale=True)})
    _, row = grid(figure.axes)
    for panel, weights in zip(row, WEIGHTS, strict=True):
        np.testing.assert_allclose(drawn(panel, 1), np.log2(49 * weights.reshape(7, 7)))
    figure.draw_without_rendering()
    labels = [tick.get_text() for tick in row[-1].child_axes[0].get_yticklabels()]
    assert {"1/4", "1", "4"} <= set(labels)


def test_log_scale_of_a_weight_of_0_begin_where_the_scale_says() -> None:
    maps = np.ones((3, 4, 5))
    maps[0, 0, 0] = 0
    figure = attention_rows(FACES, {"m": Overlay(maps, "share", log_scale=True)})
    _, row = grid(figure.axes)
    assert (drawn(row[0], 1)[0, 0], row[0].images[1].get_clim()) == (-20, (-20, 0))
    assert row[-1].child_axes[0].get_ylabel() == "share\n(lowest: 2⁻²⁰ or less)"


def test_masks_are_tinted_and_outlined_where_they_have_an_edge() -> None:
    _, (part, empty, full) = grid(attention_rows(FACES, {"occluded": MASKS}).axes)
    tint, outline = part.collections
    edge = np.concatenate(outline.get_paths()[0].to_polygons(closed_only=False))
    assert [*edge.min(axis=0), *edge.max(axis=0)] == [3.5, 4.5, 11.5, 14.5]
    assert tint.get_alpha() == 0.35
    assert len(empty.collections) == 0
    assert len(full.collections) == 1


def test_rows_and_columns_are_named() -> None:
    figure = attention_rows(FACES, {"level 1": WEIGHTS, "occluded": MASKS}, column_titles=["happy", "sad", "fear"])
    rows = grid(figure.axes)
    assert [row[0].get_ylabel() for row in rows] == ["face", "level 1", "occluded"]
    assert [panel.get_title() for panel in rows[0]] == ["happy", "sad", "fear"]


def test_labels_keep_clear_of_the_faces() -> None:
    figure = attention_rows(FACES, {"a long label\nof two lines": WEIGHTS})
    figure.draw_without_rendering()
    _, row = grid(figure.axes)
    label = row[0].yaxis.label.get_window_extent()
    assert label.x0 >= 0
    assert label.x1 <= row[0].get_window_extent().x0


@pytest.mark.parametrize(
    ("images", "rows", "message"),
    [
        (FACES, {}, "no row to draw"),
        (FACES[:0], {"w": WEIGHTS[:0]}, "at least one image"),
        (FACES / 255, {"w": WEIGHTS}, "images are float64"),
        (FACES[..., 0], {"w": WEIGHTS}, r"expected uint8 \(n, H, W, 3\)"),
        (FACES, {"w": WEIGHTS[:2]}, r"row 'w' is float64 \(2, 49\)"),
        (FACES, {"w": MAPS[:2]}, r"row 'w' is float64 \(2, 4, 5\)"),
        (FACES, {"w": MASKS[:, :5]}, r"row 'w' is bool \(3, 5, 20\).* masks \(3, 24, 20\)"),
        (FACES, {"w": np.full((3, 147), 1 / 147)}, "147 attention weights per image, not a square grid"),
        (FACES, {"w": 2 * WEIGHTS}, "do not sum to 1"),
        (FACES, {"w": np.full((3, 49), np.nan)}, "do not sum to 1"),
        (FACES, {"m": np.full((3, 7, 7), np.inf)}, "not finite"),
        (FACES, {"m": Overlay(MAPS, log_scale=True)}, "row 'm' hold values below 0: draw them without log_scale"),
        (FACES, {"m": Overlay(MAPS, faces=FACES[..., 0])}, r"expected uint8 \(n, H, W, 3\)"),
        (FACES, {"m": Overlay(MAPS, faces=FACES[:2])}, "row 'm' has 2 faces: expected 3, one per column"),
        (FACES, {"w": np.float64(1)}, r"row 'w' is float64 \(\)"),
    ],
)
def test_what_cannot_be_drawn_is_named(images: np.ndarray, rows: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        attention_rows(images, rows)


def test_a_wrong_number_of_titles_is_refused() -> None:
    with pytest.raises(InputError, match="2 column titles for 3 images"):
        attention_rows(FACES, {"w": WEIGHTS}, column_titles=["a", "b"])
