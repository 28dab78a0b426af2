"""Runs beside one another: which are repetitions, what the others differ in, which can be tested."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from qcs.report.compare import configurations, differing, pairs, seed_tests
from qcs.report.gather import Run

Made = Callable[..., Run]
RIGHT, SOME = [0, 1, 2, 0, 1, 2], [0, 1, 1, 0, 0, 2]


def test_runs_that_differ_in_the_seed_alone_are_one_configuration_wherever_the_data_lay(made: Made) -> None:
    runs = [
        made("a", RIGHT, seed=1),
        made("b", SOME, seed=2, data="elsewhere/faces.npz", image_root="there"),
        made("c", SOME, lr=0.1),
    ]
    found = configurations(runs)
    assert [[run.name for run in each.runs] for each in found] == [["a", "b"], ["c"]]
    assert [each.name for each in found] == ["base_nano, lr 0.001", "base_nano, lr 0.1"]
    assert differing(found) == {"lr": [0.001, 0.1]}


def test_a_network_of_its_own_needs_no_settings_in_its_name(made: Made) -> None:
    found = configurations([made("a", RIGHT), made("b", SOME, model="qcs_nano", lr=0.1)])
    assert [each.name for each in found] == ["base_nano", "qcs_nano"]
    assert differing(found) == {"model": ["base_nano", "qcs_nano"], "lr": [0.001, 0.1]}


def test_names_are_cut_only_as_far_as_they_stay_different(made: Made) -> None:
    wide = dict(epochs=5, batch=8, size=48)
    runs = [made("a", RIGHT, **wide, decay=1), made("b", SOME, **wide, decay=2)]
    others = [made("c", SOME, lr=0.1, epochs=9, batch=9, size=9, decay=9), made("d", SOME, model="qcs_nano")]
    assert [each.name for each in configurations([*runs, *others])] == [
        "base_nano, lr 0.001, epochs 5, batch 8, size 48, decay 1",
        "base_nano, lr 0.001, epochs 5, batch 8, size 48, decay 2",
        "base_nano, lr 0.1, epochs 9, batch 9",
        "qcs_nano",
    ]


def test_two_runs_on_the_same_images_are_compared_by_hand(made: Made) -> None:
    (pair,) = pairs(configurations([made("a", RIGHT), made("b", SOME, lr=0.1)]))
    assert (pair.first.name, pair.second.name) == ("a", "b")
    assert (pair.accuracy.value, pair.balanced.value) == pytest.approx((2 / 6, 2 / 6))
    assert (pair.test.only_first, pair.test.only_second) == (2, 0)
    assert pair.test.p == pair.adjusted == 0.5


def test_repetitions_and_runs_on_other_images_are_no_pairs(made: Made) -> None:
    other = made("c", SOME, lr=0.1)
    assert other.predictions is not None
    other.predictions = dataclasses.replace(other.predictions, names=other.predictions.names[::-1])
    assert (
        pairs(configurations([made("a", RIGHT, seed=1), made("b", SOME, seed=2), other, made("d", None, lr=1.0)])) == []
    )


def test_configurations_with_several_seeds_are_tested_over_them(made: Made) -> None:
    good = [made("a", RIGHT, seed=1), made("b", [0, 1, 2, 0, 1, 1], seed=2)]
    bad = [made("c", SOME, seed=1, lr=0.1), made("d", [0] * 6, seed=2, lr=0.1)]
    (each,) = seed_tests(configurations([*good, *bad]))
    assert each.test.difference.value == pytest.approx((1 + 5 / 6) / 2 - (4 / 6 + 2 / 6) / 2)
    assert seed_tests(configurations([*good, bad[0]])) == []
