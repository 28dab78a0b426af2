"""Features in the plane: neighbors, colors and legends."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from qcs.errors import InputError
from qcs.visualize import embedding, neighbor_agreement, project

RANDOM = np.random.default_rng(0)
FEATURES = np.concatenate([RANDOM.normal(size=(20, 8)), RANDOM.normal(size=(20, 8)) + 20])
GROUPS = ["a"] * 20 + ["b"] * 20


def test_neighbors_stay_neighbors_and_the_seed_decides() -> None:
    points = project(FEATURES)
    assert points.shape == (40, 2)
    assert neighbor_agreement(points, GROUPS) == 1
    np.testing.assert_array_equal(points, project(FEATURES))


def test_agreement_is_the_share_of_nearest_neighbors_of_the_same_group() -> None:
    line = np.array([[0.0], [1.0], [3.0], [7.0]])  # each is nearest to the one before it, the first to the second
    assert neighbor_agreement(line, ["x", "x", "y", "y"]) == 0.75


def test_each_grouping_draws_the_same_points() -> None:
    points = RANDOM.normal(size=(40, 2))
    people = [f"person {number % 13}" for number in range(40)]  # 0 appears 4 times, the others 3 times
    by_class, by_person = embedding(points, {"class": GROUPS, "who": people}).axes
    for panel in (by_class, by_person):
        drawn = np.concatenate([collection.get_offsets() for collection in panel.collections])
        np.testing.assert_array_equal(np.sort(drawn, axis=0), np.sort(points, axis=0))
    np.testing.assert_array_equal(by_class.collections[0].get_offsets(), points[:20])
    labels = [text.get_text() for text in by_person.get_legend().get_texts()]
    assert len(labels) == 9 and labels[0] == "5 others" and "person 0" in labels


def test_groups_differ_in_marker_and_color() -> None:
    panel = embedding(RANDOM.normal(size=(8, 2)), {"class": list("abcdefgh")}).axes[0]
    looks = {(tuple(dots.get_facecolor()[0]), dots.get_paths()[0].vertices.tobytes()) for dots in panel.collections}
    assert len(looks) == 8
    assert len({shape for _, shape in looks}) == 8


def test_what_cannot_be_drawn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"features have shape \(2, 8\)"):
        project(FEATURES[:2])
    with pytest.raises(InputError, match=r"points have shape \(40, 8\)"):
        embedding(FEATURES, {"class": GROUPS})
    with pytest.raises(InputError, match="no grouping"):
        embedding(FEATURES[:, :2], {})
    with pytest.raises(InputError, match="'class' has 3 groups for 40 points"):
        embedding(FEATURES[:, :2], {"class": GROUPS[:3]})
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError, match=r"t-SNE needs scikit-learn; run: pip install 'qcs-fer\[viz\]'"):
        project(FEATURES)
