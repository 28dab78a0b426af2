"""The images of the experiment are those that it says they are."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from benchmarks.ferplus.data import Data
from benchmarks.ferplus.plan import Labels
from qcs.data.labels import CLASSES

LABELS = [labels for labels in get_args(Labels) if labels != "synthetic"]


def test_targets_are_shares_of_votes_on_the_official_set(folder: Path) -> None:
    data = Data(folder)
    train = data.splits("votes")["train"]
    assert train.soft is not None
    assert len(train) == len(data.official["train"]) == 120
    np.testing.assert_allclose(train.soft[0, [0, 1]], [2 / 9, 7 / 9])  # neutral and happy; the single vote is dropped
    np.testing.assert_allclose(train.soft.sum(1), 1, rtol=1e-6)


def test_images_of_quadruplets_come_as_often_as_quadruplets_bring_them(folder: Path) -> None:
    data = Data(folder)
    train, once = data.splits("quadruplets")["train"], data.splits("votes")["train"]
    assert len(train) == 4 * len(once)
    anchors = train.names.reshape(-1, 4, 12)[:, 0]  # a batch of 12 quadruplets after another, anchors first
    assert sorted(anchors.flatten()) == sorted(once.names)
    counts = dict(zip(*np.unique(train.names, return_counts=True), strict=True))
    assert len(set(counts.values())) > 2  # the others are drawn at random
    row = {name: number for number, name in enumerate(once.names)}
    assert train.soft is not None and once.soft is not None
    assert (train.soft == once.soft[[row[name] for name in train.names]]).all()


def test_random_partners_are_sampled_regardless_of_votes(folder: Path) -> None:
    data = Data(folder)
    train, known = data.splits("random-partners")["train"], data.splits("votes")["train"]
    assert (train.soft == known.soft).all() and (train.names == known.names).all()  # the targets stay
    assert set(train.labels) == set(range(8))  # sampling labels cover all classes, although few have images
    assert len(set(known.labels)) < 8


def test_old_labels_go_by_name_and_unknown_ones_are_left_out(folder: Path) -> None:
    train = Data(folder).splits("fer2013")["train"]
    assert len(train) == 119
    assert train.classes == CLASSES["ferplus"]
    assert train.classes[train.labels[0]] == "disgust"
    assert train.classes[train.labels[2]] == "happy"


def test_no_test_image_is_given_to_a_run(folder: Path) -> None:
    data = Data(folder)
    assert all(data.splits(labels).keys() == {"train", "validation"} for labels in LABELS)
    assert data.unseen.tolist() == [True] * 17 + [False]


def test_research_data_has_the_official_counts(shared_data: Path) -> None:
    data = Data(shared_data)
    assert {name: len(images) for name, images in data.official.items()} == {
        "train": 25_057,
        "validation": 3199,
        "test": 3152,
    }
    old, official = data.splits("fer2013")["train"], data.official["train"]
    assert len(old) == 24_973
    same = dict(zip(official.names.tolist(), official.labels.tolist(), strict=True))
    agree = np.mean([same[name] == label for name, label in zip(old.names.tolist(), old.labels.tolist(), strict=True)])
    assert agree == pytest.approx(0.678, abs=0.001)
