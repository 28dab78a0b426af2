"""Every format of every dataset: read right, and each way it can be wrong refused in one line."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from trees import TREES, grow, picture, text

from qcs.data.dataset import LabeledImages
from qcs.data.labels import CLASSES
from qcs.data.readers import FORMATS, load, read
from qcs.errors import InputError


def quiet(path: Path, format: str | None = None, **options: str) -> dict[str, LabeledImages]:
    """These trees are of course smaller than the published datasets."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*published.*")
        return read(path, format=format, **options)


CONTENT: dict[str, dict[str, list[tuple[str, str]]]] = {
    "raf_db": {
        "train": [("train_00001.jpg", "sad"), ("train_00002.jpg", "surprise")],
        "test": [("test_0001.jpg", "neutral")],
    },
    "raf_db lists": {"train": [("a.jpg", "sad"), ("b.jpg", "surprise")], "test": [("c.jpg", "neutral")]},
    "raf_db folders": {
        "train": [("train/1/b.jpg", "surprise"), ("train/5/a.jpg", "sad")],
        "test": [("test/7/c.jpg", "neutral")],
    },
    **{
        f"ferplus {kind}": {
            "train": [("fer0000000.png", "happy")],
            "validation": [("fer0000003.png", "sad")],
            "test": [("fer0000004.png", "contempt")],
        }
        for kind in ("pixels", "images", "folds")
    },
    "ferplus lists": {"train": [("a.png", "happy")], "test": [("b.png", "contempt")]},
    **{
        name: {
            "train": [("fer0000000.png", "happy"), ("fer0000001.png", "neutral"), ("fer0000002.png", "anger")],
            "validation": [("fer0000003.png", "sad")],
            "test": [("fer0000004.png", "fear")],
        }
        for name in ("fer2013", "fer2013 icml")
    },
    "affectnet8 lists": {
        "train": [("1/a b.jpg", "anger"), ("1/c.jpg", "contempt")],
        "validation": [("d.jpg", "neutral")],
    },
    "affectnet7 list": {"train": [("a.jpg", "anger"), ("b.jpg", "surprise")]},
    "affectnet8 annotations": {
        "train": [("train_set/images/1.jpg", "anger"), ("train_set/images/2.jpg", "contempt")],
        "validation": [("val_set/images/4.jpg", "neutral")],
    },
    "affectnet8 table": {
        "train": [("1/a.jpg", "anger"), ("1/b.jpg", "contempt")],
        "validation": [("c.jpg", "neutral")],
    },
    "affectnet7 folders": {"train": [("train/6/a.jpg", "anger")], "validation": [("val/0/c.jpg", "neutral")]},
    "expw": {"all": [("a b.jpg#0", "happy"), ("a b.jpg#1", "neutral"), ("c.jpg#0", "anger")]},
    "sfew": {
        "train": [("Train_Aligned_Faces/Angry/a.png", "anger"), ("Train_Aligned_Faces/Neutral/b.png", "neutral")],
        "validation": [("Val_Aligned_Faces_new/Surprise/c.png", "surprise")],
    },
    "sfew table": {"all": [("a.png", "neutral")]},
    "ckplus": {
        "all": [(f"S005/001/S005_001_{frame:08d}.png", "disgust") for frame in (2, 3, 4)]
        + [(f"S010/001/S010_001_{frame:08d}.png", "surprise") for frame in (2, 3, 4)]
    },
    "ckplus folders": {
        "all": [
            ("anger/S005_001_00000010.png", "anger"),
            ("happy/S005_002_00000010.png", "happy"),
            ("happy/S010_001_00000004.png", "happy"),
        ]
    },
    "ckplus table": {"all": [("image_0.png", "contempt")]},
    "ckplus pixels": {
        "train": [("fer0000000.png", "happy"), ("fer0000002.png", "anger")],
        "validation": [("fer0000003.png", "contempt")],
        "test": [("fer0000004.png", "fear")],
    },
}
NAMED_ONLY = {  # distinguished from others by the name of the format only
    "raf_db folders", "ferplus pixels", "affectnet8 annotations", "affectnet8 table", "affectnet7 folders",
    "sfew table", "ckplus table", "ckplus pixels",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*subjects are unknown", "ignore:.*test split has no labels")
@pytest.mark.parametrize("name", CONTENT)
def test_every_layout_gives_its_images_under_the_right_names(tmp_path: Path, name: str) -> None:
    path, format = grow(tmp_path, name), name.split()[0]
    splits = quiet(path, format)
    assert {
        split: [(image, data.classes[label]) for image, label in zip(data.names.tolist(), data.labels, strict=True)]
        for split, data in splits.items()
    } == CONTENT[name]
    assert {data.classes for data in splits.values()} == {CLASSES[format]}
    assert all(data.image(row).size for data in splits.values() for row in range(len(data)))
    if name not in NAMED_ONLY:
        assert load(path)[0] == format


def test_every_dataset_of_the_label_table_has_a_format_and_a_tree() -> None:
    assert {*CLASSES} <= {*FORMATS} == {name.split()[0] for name in TREES}


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("ferplus pixels", "matches the formats ferplus and fer2013; give the format"),
        ("affectnet8 annotations", "matches the formats affectnet7 and affectnet8; give the format"),
    ],
)
def test_what_could_be_two_datasets_is_not_guessed(tmp_path: Path, name: str, question: str) -> None:
    with pytest.raises(InputError, match=question):
        read(grow(tmp_path, name))


def test_the_table_of_votes_itself_is_no_question(tmp_path: Path) -> None:
    train = quiet(grow(tmp_path, "ferplus pixels") / "fer2013new.csv", votes="probability")["train"]
    assert [np.array(train.image(row))[0, 0] for row in range(len(train))] == [0, 1]
    assert train.soft is not None and train.soft[1, :4].tolist() == pytest.approx([0.625, 0.375, 0, 0])


def test_boxes_of_expw_are_top_left_right_bottom_and_cut_the_face_out(tmp_path: Path) -> None:
    faces = quiet(grow(tmp_path, "expw", {"image/origin/a b.jpg": picture(9, size=(20, 10))}))["all"]
    assert faces.boxes is not None and faces.boxes.tolist()[:2] == [[2, 1, 7, 5], [0, -1, 3, 9]]
    assert [faces.image(row).size for row in (0, 1)] == [(5, 4), (3, 9)]


def test_subjects_of_ckplus_are_known_where_the_names_tell_them(tmp_path: Path) -> None:
    sequences = quiet(grow(tmp_path / "a", "ckplus"))["all"].subjects
    assert sequences is not None and sequences.tolist() == ["S005"] * 3 + ["S010"] * 3
    derived = quiet(grow(tmp_path / "b", "ckplus folders"))["all"].subjects
    assert derived is not None and derived.tolist() == ["S005", "S005", "S010"]
    with pytest.warns(UserWarning, match="the subjects are unknown"):
        assert quiet(grow(tmp_path / "c", "ckplus table"), "ckplus")["all"].subjects is None


def test_seven_class_affectnet_leaves_contempt_and_the_three_codes_of_no_expression_out(tmp_path: Path) -> None:
    path = grow(tmp_path, "affectnet8 annotations")
    assert quiet(path, "affectnet7")["train"].class_counts()["anger"] == 1
    assert dict(load(path, format="affectnet7")[1].dropped) == {"contempt": 1, "uncertain": 1}
    assert dict(load(path, format="affectnet8")[1].dropped) == {"uncertain": 1}


def test_eight_classes_are_evaluated_as_seven_by_name(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="left out 1 of 3 images, whose classes are not among surprise,.*: contempt 1"):
        splits = read(grow(tmp_path, "affectnet8 lists"), classes=CLASSES["raf_db"])
    assert [data.labels.tolist() for data in splits.values()] == [[5], [6]]  # anger and neutral in RAF-DB's order


@pytest.mark.filterwarnings("ignore:.*raf_db train")
def test_counts_that_are_not_the_published_ones_are_a_warning(tmp_path: Path) -> None:
    expected = r"raf_db test has 1 images, published 3,068: surprise 0 \(329\), .*neutral 1 \(680\)"
    with pytest.warns(UserWarning, match=expected):
        read(grow(tmp_path, "raf_db"))


def test_an_image_listed_twice_is_a_warning(tmp_path: Path) -> None:
    path = grow(tmp_path, "list", {"list.txt": text("b.png sad", "x y.png happy", "b.png happy")})
    with pytest.warns(UserWarning, match=r"list\.txt: 1 images are listed more than once, first: b\.png"):
        read(path)


def test_images_without_annotation_are_a_warning(tmp_path: Path) -> None:
    path = grow(tmp_path, "affectnet8 annotations", {"train_set/annotations/2_exp.npy": None})
    with pytest.warns(UserWarning, match="1 images have no annotation"):
        quiet(path, "affectnet8")


def test_images_may_lie_under_another_root(tmp_path: Path) -> None:
    path = grow(tmp_path / "lists", "affectnet8 lists", {"d.jpg": None})
    grow(tmp_path / "images", "affectnet8 lists")
    with pytest.raises(InputError, match=r"1 of 3 images missing under .*lists, first: .*d\.jpg; give the folder"):
        read(path)
    assert len(quiet(path, image_root=str(tmp_path / "images"))["validation"]) == 1
