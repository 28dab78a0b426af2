from __future__ import annotations

import numpy as np
import pytest
from torchvision.transforms.functional import pil_to_tensor

from qcs.data.dataset import LabeledImages
from qcs.data.splits import hold_out, merge, subject_folds
from qcs.errors import InputError

PIXELS = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)  # image i has the value i


def people(images_each: int = 6, subjects: int = 20) -> LabeledImages:
    """Every subject with the same number of images, spread over three classes."""
    count = images_each * subjects
    return LabeledImages(
        np.zeros((count, 2, 2), np.uint8),
        np.arange(count) % 3,
        ["happy", "sad", "fear"],
        subjects=[f"S{i // images_each:03d}" for i in range(count)],
    )


def unbalanced() -> LabeledImages:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [100, 25, 2, 1]))
    return LabeledImages(np.zeros((128, 2, 2), np.uint8), labels, ["happy", "sad", "fear", "anger"])


def test_held_out_part_has_its_share_of_every_class() -> None:
    train, validation = hold_out(unbalanced(), fraction=0.2)
    assert list(validation.class_counts().values()) == [20, 5, 1, 0]
    assert sorted([*train.names, *validation.names]) == sorted(unbalanced().names)


def test_even_a_large_fraction_leaves_every_class_in_training() -> None:
    train, _ = hold_out(unbalanced(), fraction=0.999)
    assert min(train.class_counts().values()) == 1


def test_held_out_part_depends_on_the_seed_alone() -> None:
    first, again, other = (hold_out(unbalanced(), seed=seed)[1].names.tolist() for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_fractions_outside_zero_to_one_are_refused(fraction: float) -> None:
    with pytest.raises(InputError, match="expected a number between 0 and 1"):
        hold_out(unbalanced(), fraction)


def test_nothing_to_hold_out_is_an_error() -> None:
    with pytest.raises(InputError, match="no class has two images"):
        hold_out(LabeledImages(PIXELS[:2], [0, 1], ["happy", "sad"]))


def test_merging_keeps_images_with_all_that_belongs_to_them() -> None:
    soft = np.eye(2, dtype=np.float32)[[0, 1, 0, 1, 0, 1]]
    whole = LabeledImages(
        PIXELS, [0, 1, 0, 1, 0, 1], ["sad", "fear"], soft=soft, subjects=list("uvwxyz"), boxes=[[0, 0, 2, 2]] * 6
    )
    merged = merge({"test": whole.subset([1, 4]), "train": whole.subset([2, 3, 0, 5])})
    assert [int(np.array(merged.image(i))[0, 0]) for i in range(6)] == [1, 4, 2, 3, 0, 5]
    assert merged.names.tolist() == list("142305")
    assert merged.labels.tolist() == [1, 0, 0, 1, 0, 1]
    assert merged.soft is not None and np.array_equal(merged.soft, soft[[1, 4, 2, 3, 0, 5]])
    assert merged.subjects is not None and "".join(merged.subjects) == "vywxuz"
    assert merged.image(0).size == (2, 2)
    assert merge({"a": whole, "b": LabeledImages(PIXELS, [0] * 6, ["sad", "fear"])}).soft is None


def test_merging_keeps_the_transform() -> None:
    train, validation = hold_out(unbalanced().with_transform(pil_to_tensor))
    assert merge({"train": train, "validation": validation}).transform is pil_to_tensor


def test_splits_of_different_classes_do_not_merge() -> None:
    happy, sad = (LabeledImages(PIXELS[:1], [0], [name]) for name in ("happy", "sad"))
    with pytest.raises(InputError, match="different classes \\(train: happy; test: sad\\)"):
        merge({"train": happy, "test": sad})
    with pytest.raises(InputError, match="no split given"):
        merge({})


def test_held_out_subjects_are_not_trained_on_and_every_class_stays_within_its_share() -> None:
    train, validation = hold_out(people(), fraction=0.25)
    assert train.subjects is not None and validation.subjects is not None
    assert not set(train.subjects) & set(validation.subjects)
    assert set(validation.class_counts().values()) == {10}
    assert len(train) + len(validation) == 120
    again = hold_out(people(), fraction=0.25)[1]
    assert validation.names.tolist() == again.names.tolist()


def test_subjects_larger_than_the_share_cannot_be_held_out() -> None:
    with pytest.raises(InputError, match=r"every subject has more than the fraction 0\.1 of a class"):
        hold_out(people(images_each=60, subjects=2), fraction=0.1)


def test_folds_test_every_image_once_and_nobody_who_was_trained_on() -> None:
    folds = subject_folds(people(images_each=2, subjects=23), 10)
    assert sorted(name for _, test in folds for name in test.names) == sorted(people(2, 23).names)
    for train, test in folds:
        assert train.subjects is not None and test.subjects is not None
        assert not set(train.subjects) & set(test.subjects)
        assert len(train) + len(test) == 46
    first = folds[0][1].subjects
    assert first is not None and sorted(set(first)) == ["S000", "S010", "S020"]  # every tenth in ascending order


def test_folds_need_subjects_and_enough_of_them() -> None:
    with pytest.raises(InputError, match="the subjects of these images are unknown"):
        subject_folds(unbalanced())
    with pytest.raises(InputError, match="the number of folds is 21; expected from 2 to 20, the number of subjects"):
        subject_folds(people(), 21)
