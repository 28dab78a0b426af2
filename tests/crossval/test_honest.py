"""The honest protocol: no group on two sides, classes in proportion, official test sets kept apart."""

from __future__ import annotations

import numpy as np
import pytest

from qcs.crossval import Pool, honest_split
from qcs.crossval.honest import shared_with_training
from qcs.crossval.published import published_split
from qcs.data import LabeledImages
from qcs.errors import InputError

CLASSES = ("happy", "sad", "fear")


def pool(groups: object, labels: object, official: object = None) -> Pool:
    numbers = np.asarray(groups, np.int64)
    images = LabeledImages(np.zeros((len(numbers), 8, 8), np.uint8), np.asarray(labels), CLASSES)
    return Pool(images, None if official is None else np.asarray(official), numbers)


def of_subjects() -> Pool:
    """Thirty subjects with six images each, two of every class."""
    return pool(np.repeat(np.arange(30), 6), np.tile([0, 1, 2], 60))


@pytest.mark.parametrize("repeat", range(6))
def test_no_group_is_in_two_sets(repeat: int) -> None:
    faces = of_subjects()
    split = honest_split(faces, repeat)
    assert sorted(np.concatenate(split)) == list(range(180))
    assert shared_with_training(split, faces) == {"validation": 0, "test": 0}
    assert not set(faces.groups[split.validation]) & set(faces.groups[split.test])
    assert [len(part) for part in split] == [108, 36, 36]


def test_random_splits_of_the_same_images_leak() -> None:
    faces = of_subjects()
    assert shared_with_training(published_split(180, 0), faces)["test"] > 30


def test_five_repeats_test_every_image_once_and_the_next_five_split_otherwise() -> None:
    tests = [honest_split(of_subjects(), repeat).test for repeat in range(10)]
    assert sorted(np.concatenate(tests[:5])) == sorted(np.concatenate(tests[5:])) == list(range(180))
    assert not any(np.array_equal(first, second) for first, second in zip(tests[:5], tests[5:], strict=True))


def test_classes_are_in_proportion() -> None:
    faces = pool(np.arange(200), [0] * 150 + [1] * 40 + [2] * 10)
    counts = [np.bincount(faces.images.labels[part]).tolist() for part in honest_split(faces, 0)]
    assert counts == [[90, 24, 6], [30, 8, 2], [30, 8, 2]]


OFFICIAL = ["train"] * 60 + ["validation"] * 15 + ["test"] * 15


def test_official_splits_stay_and_training_images_with_a_copy_in_them_are_left_out() -> None:
    groups = np.arange(90)
    groups[0], groups[1], groups[61] = 60, 75, 76  # a copy in validation, one in test, one from validation in test
    faces = pool(groups, np.tile([0, 1, 2], 30), OFFICIAL)
    split = honest_split(faces, 3)
    assert split.train.tolist() == list(range(2, 60))
    assert split.validation.tolist() == [60, *range(62, 75)]
    assert split.test.tolist() == list(range(75, 90))


def test_without_official_validation_a_tenth_is_held_out_anew_in_every_repeat() -> None:
    faces = pool(np.arange(90), np.tile([0, 1, 2], 30), ["train"] * 75 + ["test"] * 15)
    splits = [honest_split(faces, repeat) for repeat in range(3)]
    assert {len(split.validation) for split in splits} <= {7, 8, 9}
    assert all(split.test.tolist() == list(range(75, 90)) for split in splits)
    assert not np.array_equal(splits[0].validation, splits[1].validation)


def test_without_an_official_test_set_the_validation_set_is_tested() -> None:
    faces = pool(np.arange(75), np.tile([0, 1, 2], 25), OFFICIAL[:75])
    split = honest_split(faces, 0)
    assert split.test.tolist() == list(range(60, 75))
    assert sorted(np.concatenate([split.train, split.validation])) == list(range(60))


@pytest.mark.parametrize(
    ("faces", "message"),
    [
        (
            pool(np.arange(12), [0] * 5 + [1] * 5 + [2] * 2),
            "class fear has 2 independent groups of images, expected at",
        ),
        (
            pool([0] * 6 + [1] * 6 + [2] * 6, [0, 1, 2] * 6),
            "there are 3 independent groups of images, expected at least",
        ),
        (pool(np.arange(6), [0, 1, 2] * 2, ["train"] * 2 + ["validation"] * 2 + ["test"] * 2), "none of fear is left"),
        (
            pool([0, 1, 2, 0, 1, 2], [0, 1, 2] * 2, ["train"] * 3 + ["validation"] * 2 + ["test"]),
            "leaves none for train",
        ),
    ],
)
def test_too_few_images(faces: Pool, message: str) -> None:
    with pytest.raises(InputError, match=message):
        honest_split(faces, 0)
