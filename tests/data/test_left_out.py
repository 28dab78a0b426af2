"""Files, folders and columns that are not read are counted and named, or refused."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qcs.data import read
from qcs.data.check import check
from qcs.data.readers.layout import LayoutError
from qcs.errors import InputError
from qcs.faces.media import image_files, pictures


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".jpg"):
            Image.fromarray(np.random.default_rng(len(name)).integers(0, 256, (9, 8), dtype=np.uint8)).save(path)
        else:
            path.write_text("0 0.5 0.5 0.2 0.2\n")
    return root


# ---- class folders

UNREAD = {
    "suffixes": (
        ("sad/p.heic", "sad/q.HEIC", "sad/notes.txt"),
        r"left out 3 files .*: \.heic 2, \.txt 1; first: sad/n",
    ),
    "nested folders": (
        ("sad/old/1.png", "sad/more/2.png"),
        "left out 2 folders inside class folders: sad/more, sad/old",
    ),
    "beside": (("1.png",), r"left out 1 images outside of class folders: 1\.png"),
}


@pytest.mark.parametrize("kind", UNREAD)
def test_everything_left_out_of_class_folders_is_counted_and_named(tmp_path: Path, kind: str) -> None:
    names, message = UNREAD[kind]
    make(tmp_path, "sad/a.png", "happy/b.png", *names)
    with pytest.warns(UserWarning, match=message):
        assert len(read(tmp_path)["all"]) == 2
    assert any(re.search(message, remark) for remark in check(tmp_path).remarks)


def test_clean_class_folders_bring_no_warning(tmp_path: Path) -> None:
    make(tmp_path, "sad/a.png", "happy/b.png", "sad/.DS_Store", "list.csv")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(tmp_path)


def test_everything_left_out_of_a_folder_of_pictures_is_counted_and_named(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "deep/b.jpg", "c.heic", "deep/d.txt", ".hidden")
    (tmp_path / "e.mp4").write_bytes(bytes(9))
    message = r"left out 3 files .*: \.heic 1, \.txt 1, \.mp4 1; first: c\.heic; give the path of a video itself"
    with pytest.warns(UserWarning, match=message):
        assert [path.name for path in image_files(tmp_path)] == ["a.png", "b.jpg"]
    with pytest.warns(UserWarning, match=message):
        assert len(list(pictures([tmp_path]))) == 2


# ---- trees of detection data

TREES = {
    "YOLO": ("train/images/a.png", "train/labels/a.txt", "valid/images/b.png", "valid/labels/b.txt", "data.yaml"),
    "YOLO, parts first": ("images/train/a.png", "images/val/b.png", "labels/train/a.txt", "labels/val/b.txt"),
    "YOLO without labels": ("train/images/a.png", "valid/images/b.png"),
    "VOC": ("images/a.png", "annotations/a.xml"),
    "images alone": ("images/a.png", "images/b.png"),
}


@pytest.mark.parametrize("tree", TREES)
def test_trees_of_detection_data_are_refused_with_what_was_seen_and_expected(tmp_path: Path, tree: str) -> None:
    make(tmp_path, *TREES[tree])
    message = (
        r"holds the folders? \w+( and \w+)?, as detection data does \(YOLO\), .*expected FOLDER/<class>/.*columns path,"
    )
    with pytest.raises(LayoutError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("place", ["images/{split}", "{split}/images", "images/images/{split}"])
def test_a_folder_images_around_classes_is_passed_through(tmp_path: Path, place: str) -> None:
    splits = {"train": ("happy", "sad"), "val": ("happy", "sad")}
    make(tmp_path, *(f"{place.format(split=split)}/{name}/1.png" for split, names in splits.items() for name in names))
    found = read(tmp_path)
    assert {split: images.class_counts() for split, images in found.items()} == {
        "train": {"happy": 1, "sad": 1},
        "validation": {"happy": 1, "sad": 1},
    }


def test_advice_on_a_folder_around_the_data_is_right_when_followed(tmp_path: Path) -> None:
    make(tmp_path, "faces/happy/1.png", "faces/sad/1.png")
    with pytest.raises(InputError, match="holds no images but the folders happy, sad") as caught:
        read(tmp_path)
    advised = re.search(r"; give (.*) as the path$", str(caught.value))
    assert advised is not None
    assert len(read(advised[1])["all"]) == 2


def test_advice_on_nested_images_is_right_when_followed(tmp_path: Path) -> None:
    make(tmp_path, "happy/old/1.png", "sad/1.png")
    with pytest.raises(
        InputError, match=r"happy holds no images but the folders old; .*; move the images of its folders up"
    ):
        read(tmp_path)
    (tmp_path / "happy/old/1.png").rename(tmp_path / "happy/1.png")
    (tmp_path / "happy/old").rmdir()
    assert len(read(tmp_path)["all"]) == 2


# ---- lists with more columns


def raf_db(root: Path, line: str) -> Path:
    for number in range(1, 8):
        make(root, f"Image/aligned/train_{number:05}_aligned.jpg", f"Image/aligned/test_{number:05}_aligned.jpg")
    (root / "EmoLabel").mkdir()
    lines = [
        line.format(name=f"{split}_{n:05}.jpg", label=n, other=8 - n)
        for split in ("train", "test")
        for n in range(1, 8)
    ]
    (root / "EmoLabel/list_patition_label.txt").write_text("".join(f"{line}\n" for line in lines))
    return root


@pytest.mark.parametrize("line", ["{name} {label} {other}", "{name}\t{label}\t{other}\tocclusion", "{name} {label}"])
def test_the_official_list_of_raf_db_has_its_labels_in_the_second_column(tmp_path: Path, line: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read(raf_db(tmp_path, line))
    assert found["train"].labels.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert any("14 lines have more than two columns" in str(w.message) for w in caught) == ("{other}" in line)


@pytest.mark.parametrize("line", ["a.png 1 2", "a.png, 1", "my face.jpg 1 occluded 2", "a.png;1 2"])
def test_a_text_list_with_more_columns_is_refused(tmp_path: Path, line: str) -> None:
    make(tmp_path, "a.png", "my face.jpg")
    (tmp_path / "list.txt").write_text(f"{line}\n")
    with pytest.raises(
        InputError, match=r"list\.txt line 1 is .*; expected a path, a space and a label, found .*remove all"
    ):
        read(tmp_path / "list.txt")


def test_a_text_list_may_have_spaces_in_paths(tmp_path: Path) -> None:
    make(tmp_path, "my face.png", "old.png copies/a b.png", "face.v2 1.png")
    (tmp_path / "list.txt").write_text("my face.png sad\nold.png copies/a b.png happy\nface.v2 1.png sad\n")
    assert read(tmp_path / "list.txt")["all"].class_counts() == {"happy": 1, "sad": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,Label\na.png,1,2\n", "two columns for the label, label and Label; remove or rename one"),
        (
            "path,label\na.png,1,2\n",
            "line 2 has 3 cells, the header 2; put cells that contain a comma in double quotes",
        ),
    ],
)
def test_a_csv_list_whose_columns_are_not_clear_is_refused(tmp_path: Path, text: str, message: str) -> None:
    make(tmp_path, "a.png")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "list.csv")


def test_a_csv_list_may_have_other_columns_and_empty_cells_at_the_end(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.png")
    (tmp_path / "list.csv").write_text(",age,label,path,pose\n0,31,sad,a.png,left,\n1,44,happy,b.png,,\n")
    assert read(tmp_path / "list.csv")["all"].class_counts() == {"happy": 1, "sad": 1}


# ---- numbers


def numbered(root: Path, labels: list[str]) -> Path:
    make(root, *(f"{row}.png" for row in range(len(labels))))
    (root / "list.csv").write_text("path,label\n" + "".join(f"{row}.png,{label}\n" for row, label in enumerate(labels)))
    return root / "list.csv"


@pytest.mark.parametrize("form", ["{}", "{}.0", "{}.", "0{}"])
def test_codes_are_numbers_in_numeric_order_as_pandas_writes_them_too(tmp_path: Path, form: str) -> None:
    codes = [10, 2, *range(2), *range(3, 10), 11]
    images = read(numbered(tmp_path, [form.format(code) for code in codes]))["all"]
    assert images.classes == tuple(map(str, range(12)))
    assert images.labels.tolist() == codes


def test_codes_of_a_dataset_may_be_written_with_a_point(tmp_path: Path) -> None:
    images = read(numbered(tmp_path, ["0.0", "3.0", "6.0"]), format="fer2013")["all"]
    assert [images.classes[label] for label in images.labels] == ["anger", "happy", "neutral"]


def test_missing_codes_are_refused_however_they_are_written(tmp_path: Path) -> None:
    path = numbered(tmp_path, ["0.0", "1.0", "2.0", "10.0"])
    with pytest.raises(
        InputError, match=r"numbers from 0 to 10 without 3; .*give the names of all classes in index order"
    ):
        read(path)
    assert read(path, classes=[f"class {code}" for code in range(11)])["all"].labels.tolist() == [0, 1, 2, 10]


def test_numbers_among_names_are_in_numeric_order(tmp_path: Path) -> None:
    assert read(numbered(tmp_path, ["10", "2", "unsure"]))["all"].classes == ("2", "10", "unsure")
