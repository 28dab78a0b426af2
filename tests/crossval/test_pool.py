"""A data set as one pool: its order, its groups, what a result states about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toy

from qcs.crossval import groups_of, read_pool
from qcs.data import LabeledImages
from qcs.errors import InputError

CLASSES = ("happy", "sad")


def faces(*values: int, **columns: object) -> LabeledImages:
    """Images of one gray value each."""
    pixels = np.array(values, np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    return LabeledImages(pixels, np.arange(len(values)) % 2, CLASSES, **columns)  # type: ignore[arg-type]


def test_splits_follow_one_another(tmp_path: Path) -> None:
    pool = read_pool(toy.archive(tmp_path / "faces.npz", "test", "train"))
    assert pool.official is not None
    assert pool.official.tolist() == ["train"] * 36 + ["test"] * 15
    assert pool.about["classes"] == {"happy": 17, "sad": 17, "anger": 17}
    assert pool.about["grouped_by"] == ["copies"]


def test_a_folder_without_splits_has_no_official_ones(tmp_path: Path) -> None:
    pool = read_pool(toy.tree(tmp_path, "train") / "train")
    assert pool.official is None and len(pool) == 36


def test_hashes_are_of_the_images_and_labels_as_read(tmp_path: Path) -> None:
    first, again = (read_pool(toy.archive(tmp_path / f"{name}.npz")).about for name in ("a", "b"))
    labels = np.array(toy.CLASSES)[(np.arange(63) + 1) % 3]
    other = read_pool(toy.archive(tmp_path / "c.npz", labels=labels)).about
    assert first["content_sha256"] == again["content_sha256"] != other["content_sha256"]
    assert len(first["sha256"]) == 64


def test_subjects_copies_and_names_join_groups() -> None:
    # 0 and 1 are copies; 1 and 2 one subject; 3 and 4 one film; 5 is alone.
    images = faces(1, 1, 2, 3, 4, 5, subjects=list("abbcde"), names=["x", "x", "x", "film_1", "film_2", "y"])
    assert groups_of(images, r"(film)_").tolist() == [0, 0, 0, 1, 1, 2]


def test_files_are_compared_by_content(tmp_path: Path) -> None:
    paths = toy.photos(tmp_path, 2)
    (tmp_path / "copy.jpg").write_bytes(paths[0].read_bytes())
    images = LabeledImages([str(path) for path in (*paths, tmp_path / "copy.jpg")], [0, 1, 1], CLASSES)
    assert groups_of(images).tolist() == [0, 1, 0]


def test_films_of_sfew_are_found_without_being_asked_for(tmp_path: Path) -> None:
    split_of = {"Train": "train", "Val": "validation"}
    for split, film in (("Train", "Airheads"), ("Val", "Evil_Dead")):
        for row, label in enumerate(("Happy", "Sad")):
            folder = tmp_path / f"{split}_Aligned_Faces" / label
            folder.mkdir(parents=True)
            toy.splits()[split_of[split]].image(row).save(folder / f"{film}_00051924{row}_0000000{row}.png")
    pool = read_pool(tmp_path)
    assert pool.about["format"] == "sfew" and pool.groups.tolist() == [0, 0, 1, 1]


def test_a_limit_keeps_every_class_of_every_split(tmp_path: Path) -> None:
    path = toy.archive(tmp_path / "faces.npz")
    pool = read_pool(path, limit=21)
    assert pool.about["drawn_from"] == 63 and len(pool) == 21
    assert pool.official is not None
    for split, size in (("train", 12), ("validation", 3), ("test", 6)):
        rows = pool.official == split
        assert rows.sum() == size and len(set(pool.images.labels[rows])) == 3
    assert read_pool(path, limit=21).about["content_sha256"] == pool.about["content_sha256"]
    assert "drawn_from" not in read_pool(path, limit=63).about


def test_copies_with_other_labels_are_counted(tmp_path: Path) -> None:
    images = np.zeros((4, 8, 8), np.uint8)
    images[3] = 9
    np.savez(tmp_path / "faces.npz", images=images, labels=["happy", "sad", "sad", "sad"])
    about = read_pool(tmp_path / "faces.npz").about
    assert (about["copies"], about["copies_with_other_labels"]) == (2, 3)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "is no regular expression"), ("film", "has 0 groups; expected one"), ("(z)", "matches none of the 2 names")],
)
def test_bad_patterns(pattern: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        groups_of(faces(1, 2, names=["a", "b"]), pattern)


def test_an_image_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the image .*gone\.jpg: No such file"):
        groups_of(LabeledImages([str(tmp_path / "gone.jpg")], [0], CLASSES))


def test_a_limit_is_at_least_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the limit is 0 images"):
        read_pool(toy.archive(tmp_path / "faces.npz"), limit=0)
