"""Which images a run trains on, which choose the model, and which only test it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toy

from qcs.data import LabeledImages
from qcs.engine.training import TrainConfig
from qcs.engine.training.data import sources
from qcs.errors import InputError


def test_splits_of_the_data_are_taken_as_they_are(tmp_path: Path) -> None:
    found = sources(toy.settings(toy.archive(tmp_path / "squares.npz")))
    assert (len(found.train), len(found.validation), found.test and len(found.test)) == (36, 12, 15)
    assert found.selection == "the validation split of the data"


@pytest.mark.parametrize("names", [("train",), ("train", "test")])
def test_without_a_validation_split_a_share_of_every_class_is_held_out_of_training(names: tuple[str, ...]) -> None:
    given = toy.splits(*names)
    found = sources(toy.settings(validation_fraction=0.25), given)
    assert found.train.class_counts() == {"happy": 9, "sad": 9, "anger": 9}
    assert found.validation.class_counts() == {"happy": 3, "sad": 3, "anger": 3}
    assert sorted([*found.train.names, *found.validation.names]) == sorted(given["train"].names)
    assert found.test is given.get("test")
    assert found.selection == "25% of the training images, held out per class"


def test_which_images_are_held_out_is_decided_by_the_seed() -> None:
    held = [sources(toy.settings(seed=seed), toy.splits("train")).validation.names.tolist() for seed in (1, 1, 2)]
    assert held[0] == held[1] != held[2]


def test_data_without_splits_is_trained_on(tmp_path: Path) -> None:
    found = sources(toy.settings(toy.archive(tmp_path / "squares.npz", "train", split=None)))
    assert (len(found.train), len(found.validation), found.test) == (33, 3, None)


def test_relabeling_reaches_every_set() -> None:
    found = sources(toy.settings(), toy.splits()).with_classes(("anger", "happy", "sad"))
    for images in (found.train, found.validation, found.test):
        assert images is not None
        assert images.classes == ("anger", "happy", "sad")
        assert images.labels[:3].tolist() == [1, 2, 0]


def test_the_summary_counts_every_set_by_class() -> None:
    assert sources(toy.settings(), toy.splits("train", "validation")).summary() == {
        "train": {"happy": 12, "sad": 12, "anger": 12},
        "validation": {"happy": 4, "sad": 4, "anger": 4},
    }


def test_data_without_training_images_is_refused_with_its_splits() -> None:
    with pytest.raises(InputError, match="squares in memory has no training images; it has the splits test"):
        sources(toy.settings(), toy.splits("test"))


def test_training_images_of_one_class_are_refused_by_name() -> None:
    images, labels = toy.squares()
    only = LabeledImages(images, labels, toy.CLASSES).subset(labels == 1)
    with pytest.raises(InputError, match="training images of one class only, sad; expected at least two"):
        sources(toy.settings(), {"train": only})


def votes_archive(path: Path) -> Path:
    """Votes on which two rules differ: an image with a tie, in every split."""
    votes = np.zeros((12, 10), np.uint8)
    votes[np.arange(12), np.arange(12) // 3 % 3] = 9
    votes[9:, :] = 0
    votes[9:, :2] = 5  # neutral and happiness alike: no majority, but a label by draw or by share
    images = np.zeros((12, 48, 48), np.uint8)
    np.savez(path, images=images, votes=votes, split=np.array([0, 1, 2] * 3 + [0, 1, 2]))
    return path


def test_a_vote_rule_labels_training_images_and_leaves_the_others_to_the_majority(tmp_path: Path) -> None:
    path = str(votes_archive(tmp_path / "votes.npz"))
    official = sources(TrainConfig(data=path))
    drawn = sources(TrainConfig(data=path, votes="select_first"))
    assert len(drawn.train) == len(official.train) + 1
    assert official.test is not None and drawn.test is not None
    assert len(drawn.validation) == len(official.validation) and len(drawn.test) == len(official.test)


def test_a_vote_rule_needs_votes(tmp_path: Path) -> None:
    toy.archive(tmp_path / "squares.npz")
    with pytest.raises(InputError, match="holds labels, not votes; omit the vote rule majority"):
        sources(TrainConfig(data=str(tmp_path / "squares.npz"), votes="majority"))
    with pytest.raises(InputError, match="images in memory have labels, not votes; leave out votes='argmax'"):
        sources(toy.settings(votes="argmax"), toy.splits())


def test_soft_labels_need_votes(tmp_path: Path) -> None:
    toy.archive(tmp_path / "squares.npz")
    with pytest.raises(InputError, match="gives no soft targets with votes='majority'; for data with votes choose"):
        sources(TrainConfig(data=str(tmp_path / "squares.npz"), soft_labels=True))
