"""Similarity matrices, class heat maps and features: what is drawn equals the maps given."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image

import qcs
from qcs.errors import InputError
from qcs.visualize import (
    Comparison,
    class_heat_maps,
    class_maps,
    compare,
    discriminative_features,
    faces_as_seen,
    feature_maps,
    similarity_matrices,
)

FACES = np.random.default_rng(0).integers(0, 256, (4, 24, 24, 3), dtype=np.uint8)
CLASSES = ["sad", "happy", "sad", "fear"]


@pytest.fixture(scope="module")
def compared() -> Comparison:
    torch.manual_seed(0)
    return compare(qcs.create_model("qcs_nano"), torch.randn(4, 3, 48, 48))


def grid(axes: list[Axes], columns: int) -> list[list[Axes]]:
    panels = [panel for panel in axes if panel.get_subplotspec() is not None]
    return [panels[start : start + columns] for start in range(0, len(panels), columns)]


def drawn(panel: Axes, layer: int = 0) -> np.ndarray:
    return np.asarray(panel.images[layer].get_array())


def test_matrices_are_the_image_with_itself_and_with_the_other(compared: Comparison) -> None:
    own, cross = compared.pair(0, 0), compared.pair(0, 1)
    first, second = grid(similarity_matrices(FACES[:2], own, cross, level=1).axes, 4)
    for line, face, pair in ((first, FACES[0], own), (second, FACES[1], cross)):
        np.testing.assert_array_equal(drawn(line[0]), face)
        for panel, matrix in zip(line[1:], (pair.cosine, pair.dot, pair.similarity), strict=True):
            np.testing.assert_array_equal(drawn(panel), matrix[1])
            assert len(panel.child_axes) == 1
    assert [panel.get_title() for panel in first[1:]] == ["cosine", "dot product", "Euclidean similarity"]
    assert [panel.get_xlabel() for panel in second[1:]] == ["position, second image"] * 3


def test_labels_of_color_scales_keep_clear_of_the_next_matrix(compared: Comparison) -> None:
    figure = similarity_matrices(FACES[:2], compared.pair(0, 0), compared.pair(0, 1))
    figure.draw_without_rendering()
    for line in grid(figure.axes, 4):
        for left, right in itertools.pairwise(line):
            assert left.get_tightbbox().x1 <= right.get_tightbbox().x0


def test_class_maps_are_of_both_images_of_each_pair(compared: Comparison) -> None:
    maps = class_maps(compared)
    assert {name: values.shape for name, values in maps.items()} == {
        "similarity_of_anchor": (3, 3, 6, 6),
        "similarity_of_image": (3, 3, 6, 6),
        "dissimilarity_of_anchor": (3, 3, 6, 6),
        "dissimilarity_of_image": (3, 3, 6, 6),
        "mean_distance": (3, 3),
    }
    np.testing.assert_array_equal(maps["similarity_of_anchor"][:, 1], compared.heat_map(0, 2))
    np.testing.assert_array_equal(maps["dissimilarity_of_image"][:, 2], compared.heat_map(3, 0, "dissimilarity"))
    np.testing.assert_allclose(maps["mean_distance"][:, 0], compared.pair(1, 0).distance.mean((1, 2)), rtol=1e-5)


def test_class_heat_maps_lie_over_the_anchor_and_over_the_image_in_turn(compared: Comparison) -> None:
    maps = class_maps(compared)
    figure = class_heat_maps(FACES, maps, CLASSES, level=0)
    faces, *rows = grid(figure.axes, 3)
    grays = FACES @ [0.299, 0.587, 0.114]
    for panel, face in zip(faces, FACES[1:], strict=True):
        np.testing.assert_array_equal(drawn(panel), face)
    names = [
        f"{alignment}_of_{where}" for alignment in ("similarity", "dissimilarity") for where in ("anchor", "image")
    ]
    for row, name in zip(rows, names, strict=True):
        for number, panel in enumerate(row):
            below = grays[0] if name.endswith("anchor") else grays[number + 1]
            np.testing.assert_allclose(drawn(panel, 0), below)
            np.testing.assert_allclose(drawn(panel, 1), np.log2(maps[name][0, number]), rtol=1e-6)
    distance = maps["mean_distance"][0]
    assert [panel.get_title() for panel in faces] == [
        f"happy\ndistance {distance[0]:.2f}",
        f"sad (own)\ndistance {distance[1]:.2f}",
        f"fear\ndistance {distance[2]:.2f}",
    ]


def test_the_scale_counts_in_multiples_of_uniform_attention(compared: Comparison) -> None:
    figure = class_heat_maps(FACES, class_maps(compared), CLASSES)
    figure.draw_without_rendering()
    bar = next(bar for panel in figure.axes for bar in panel.child_axes)
    assert bar.get_ylabel() == "attention × N\n(1 = uniform)"
    labels = {tick.get_position()[1]: tick.get_text() for tick in bar.get_yticklabels()}
    assert len(labels) >= 3
    assert all(float(Fraction(text)) == pytest.approx(2**power, abs=0.006) for power, text in labels.items())


def test_what_is_discriminative_depends_on_the_class_of_the_other(compared: Comparison) -> None:
    maps = feature_maps(compared, [False, True, False])
    for number, same in enumerate([False, True, False]):
        like, unlike = (compared.heat_map(0, number + 1, name) for name in ("similarity", "dissimilarity"))  # type: ignore[arg-type]
        np.testing.assert_array_equal(maps["discriminative"][:, number], like if same else unlike)
        np.testing.assert_array_equal(maps["redundant"][:, number], unlike if same else like)


def test_features_are_drawn_over_the_image_itself_with_their_mean_first(compared: Comparison) -> None:
    maps = feature_maps(compared, [False, True, False])
    faces, discriminative, redundant = grid(discriminative_features(FACES, maps, CLASSES).axes, 4)
    assert [panel.get_title() for panel in faces] == ["sad\nmean of all", "happy", "sad (own)", "fear"]
    gray = FACES[0] @ [0.299, 0.587, 0.114]
    for row, name in ((discriminative, "discriminative"), (redundant, "redundant")):
        np.testing.assert_allclose(drawn(row[0], 1), np.log2(maps[name][-1].mean(0)), atol=1e-6)
        np.testing.assert_allclose(drawn(row[3], 1), np.log2(maps[name][-1, 2]), atol=1e-6)
        for panel in row:
            np.testing.assert_allclose(drawn(panel, 0), gray)


def test_what_does_not_go_together_is_named(compared: Comparison) -> None:
    alone = Comparison(compared.query_keys[:, :1], [])
    pair = compared.pair(0, 1)
    with pytest.raises(InputError, match="similarity matrices compare two images, got 4"):
        similarity_matrices(FACES, pair, pair)
    with pytest.raises(InputError, match="give at least two images"):
        class_maps(alone)
    with pytest.raises(InputError, match="4 faces, 2 classes and 3 maps; expected as many classes as faces"):
        class_heat_maps(FACES, class_maps(compared), CLASSES[:2])
    with pytest.raises(InputError, match="same_class has 1 entries for 3 other images"):
        feature_maps(compared, [True])
    with pytest.raises(InputError, match="3 faces, 3 classes and 3 maps; expected as many classes as faces"):
        discriminative_features(FACES[:3], feature_maps(compared, [True, True, False]), CLASSES[:3])


def test_faces_are_cut_as_the_network_sees_them() -> None:
    wide = Image.new("L", (200, 100))
    wide.paste(255, (0, 0, 100, 100))
    seen = faces_as_seen([wide, Image.new("RGB", (50, 60), "red")], crop_pct=0.8)
    assert seen.shape == (2, 200, 200, 3)
    assert seen[0, :, :95].min() == 255 and seen[0, :, 105:].max() == 0
    assert (seen[1] == [255, 0, 0]).all()
    with pytest.raises(InputError, match="no face to draw"):
        faces_as_seen([])
