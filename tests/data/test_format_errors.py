"""Each way that the files of a format can be wrong is refused in one line that names the place."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from trees import TREES, VOTES, archive, array, grow, pictures, pixel_table, text, votes_table

from qcs.data.readers import FORMATS, read
from qcs.errors import InputError

Changes = Mapping[str, bytes | None]

SHORT = text(VOTES[0][0] + ",fer0000000.png,1,2,3")
WRONG: dict[str, tuple[str, Changes, str]] = {
    "raf_db code 0": (
        "raf_db",
        {"EmoLabel/list_patition_label.txt": text("train_00001.jpg 0")},
        r"list_patition_label\.txt: label 0 of image train_00001\.jpg \(row 0\) is out of range; expected 1 surpr",
    ),
    "raf_db code 8": (
        "raf_db",
        {"EmoLabel/list_patition_label.txt": text("train_00001.jpg 5", "test_0001.jpg 8")},
        r"label 8 of image test_0001\.jpg \(row 1\) is out of range; expected 1 surprise, 2 fear",
    ),
    "raf_db no label": (
        "raf_db",
        {"EmoLabel/list_patition_label.txt": text("train_00001.jpg")},
        r"list_patition_label\.txt line 1 is 'train_00001\.jpg'; expected a path, a space and a label",
    ),
    "raf_db split": (
        "raf_db",
        {"EmoLabel/list_patition_label.txt": text("valid_00001.jpg 2")},
        r"image valid_00001\.jpg \(row 0\) has no split; expected train_\.\.\. or test_",
    ),
    "raf_db missing image": (
        "raf_db",
        {"Image/aligned/test_0001_aligned.jpg": None},
        r"1 of 3 images missing under .*aligned, first: .*test_0001_aligned\.jpg",
    ),
    "raf_db no images": (
        "raf_db",
        {f"Image/aligned/{name}_aligned.jpg": None for name in ("train_00001", "train_00002", "test_0001")},
        r"holds none of Image/aligned, aligned, .*; expected FOLDER/EmoLabel/list_patition_label\.txt",
    ),
    "raf_db list from 1": (
        "raf_db lists",
        {"raf_db_basic_test.txt": text("c.jpg 7")},
        r"label 7 of image c\.jpg \(row 2\) is out of range; expected 0 surprise, 1 fear",
    ),
    "raf_db nothing": (
        "raf_db",
        {**dict.fromkeys(TREES["raf_db"][1]), "notes.txt": b""},
        r"holds no folders; expected FOLDER/EmoLabel/list_patition_label\.txt \(lines 'train_00001\.jpg 5'",
    ),
    "ferplus header": (
        "ferplus images",
        {"fer2013new.csv": b"Usage,neutral\n"},
        r"fer2013new\.csv has the header Usage,neutral; expected FOLDER/fer2013new\.csv \(columns Usage,Image name",
    ),
    "ferplus too few votes": (
        "ferplus images",
        {"fer2013new.csv": votes_table() + SHORT},
        r"fer2013new\.csv line 7 has the votes 1,2,3; expected 10 integers",
    ),
    "ferplus no number": (
        "ferplus folds",
        {"FER2013Test/label.csv": b'fer0000004.png,"(0, 0, 48, 48)",1,2,3,4,0,0,0,0,0,many\n'},
        r"FER2013Test/label\.csv line 1 has the votes .*,many; expected 10 integers",
    ),
    "ferplus usage": (
        "ferplus images",
        {"fer2013new.csv": votes_table().replace(b"PublicTest", b"Public")},
        r"fer2013new\.csv line 5: Usage is 'Public'; expected Training, PublicTest, PrivateTest",
    ),
    "ferplus other pixels": (
        "ferplus pixels",
        {"fer2013.csv": pixel_table().replace(b"PublicTest", b"Training")},
        r"fer2013new\.csv has 5 rows, .*fer2013\.csv has 5; expected the same number, with the same "
        r"Usage in the same order",
    ),
    "ferplus missing image": (
        "ferplus images",
        {"images/fer0000003.png": None},
        r"1 of 4 images missing under .*, first: .*fer0000003\.png",
    ),
    "fer2013 header": (
        "fer2013",
        {"fer2013.csv": b"emotion,Usage\n1,Training\n"},
        r"fer2013\.csv has the header emotion,Usage; expected a \.csv file with the columns emotion,pixels,Usage",
    ),
    "fer2013 pixels": (
        "fer2013",
        {"fer2013.csv": text("emotion,pixels,Usage", "1,0 1 2,Training")},
        r"fer2013\.csv line 2: pixels are 3 values; expected 2,304 integers from 0 to 255, "
        r"separated by spaces",
    ),
    "fer2013 value": (
        "fer2013",
        {"fer2013.csv": pixel_table().replace(b",4 4 4", b",4 256 4")},
        r"fer2013\.csv line 6: pixels are 2,304 values; expected 2,304 integers from 0 to 255",
    ),
    "fer2013 code": (
        "fer2013",
        {"fer2013.csv": pixel_table((0, 1, 2, 7, 3))},
        r"label 7 of image fer0000003\.png \(row 3\) is out of range; expected 0 anger, 1 disgust",
    ),
    "fer2013 cells": (
        "fer2013",
        {"fer2013.csv": pixel_table() + b"1,2\n"},
        r"fer2013\.csv line 7 has 2 cells; expected 3",
    ),
    "affectnet8 code": (
        "affectnet8 lists",
        {"affectnet_validation-cls8.txt": text("d.jpg 11")},
        r"label 11 of image d\.jpg \(row 2\) is out of range; expected 0 neutral, 1 happy, .* 10 no face",
    ),
    "affectnet8 two lists": (
        "affectnet8 lists",
        {"affectnet_training-cls8-v7.txt": text("d.jpg 1")},
        r"holds two lists of the train split, affectnet_training-cls8-v7\.txt and affectnet_training-cls8\.txt; remove",
    ),
    "affectnet8 annotation": (
        "affectnet8 annotations",
        {"val_set/annotations/4_exp.npy": array([1, 2])},
        r"annotation .*4_exp\.npy does not hold a single label code: int64 of shape \(2,\); "
        r"replace it, or remove it and its image",
    ),
    "affectnet8 corrupt annotation": (
        "affectnet8 annotations",
        {"val_set/annotations/4_exp.npy": b"no array"},
        r"annotation .*4_exp\.npy does not hold a single label code: ",
    ),
    "affectnet8 pickled annotation": (
        "affectnet8 annotations",
        {"val_set/annotations/4_exp.npy": array(np.array([{}, None])[:1])},
        r"annotation .*4_exp\.npy does not hold a single label code: Object arrays cannot be loaded "
        r"when allow_pickle=False; ",
    ),
    "affectnet8 long annotation": (
        "affectnet8 annotations",
        {"val_set/annotations/4_exp.npy": array(np.zeros(10**4))},
        r"annotation .*4_exp\.npy does not hold a single label code: ",
    ),
    "affectnet8 no annotations": (
        "affectnet8 annotations",
        {"val_set/annotations/4_exp.npy": None, "val_set/annotations/4_aro.npy": b""},
        r"val_set/annotations holds no annotations <id>_exp\.npy; expected FOLDER/affectnet_",
    ),
    "affectnet8 image": (
        "affectnet8 annotations",
        {"train_set/images/1.jpg": None},
        r"1 of 4 images missing under .*, first: .*train_set/images/1\.jpg",
    ),
    "affectnet8 columns": (
        "affectnet8 table",
        {"affectnet.csv": text("phase,label", "train,1")},
        r"affectnet\.csv lacks the column path; its header is phase,label; expected",
    ),
    "affectnet8 phase": (
        "affectnet8 table",
        {"affectnet.csv": text("phase,img_path,label", "dev,c.jpg,1")},
        r"affectnet\.csv: split 'dev' of image c\.jpg \(row 0\) is unknown; expected train",
    ),
    "affectnet8 folder": (
        "affectnet7 folders",
        pictures("train/11/a.jpg"),
        r"label 11 of image train/11/a\.jpg \(row 0\) is out of range; expected 0 neutral",
    ),
    "expw columns": (
        "expw",
        {"label/label.lst": text("a b.jpg 0 1 2 7 5 98.1 3", "c.jpg 0")},
        r"label\.lst line 2 is 'c\.jpg 0'; expected image_name face_id top left right bottom confidence label",
    ),
    "expw box": (
        "expw",
        {"label/label.lst": text("c.jpg 0 5 0 4 2 70 1")},
        r"label\.lst line 1: the box top 5, left 0, right 4, bottom 2 is empty; correct it or remove the line",
    ),
    "expw code": (
        "expw",
        {"label/label.lst": text("c.jpg 0 0 0 8 6 70 7")},
        r"label 7 of image c\.jpg#0 \(row 0\) is out of range; expected 0 anger",
    ),
    "expw image": ("expw", {"image/origin/c.jpg": None}, r"1 of 3 images missing under .*origin, first: .*c\.jpg"),
    "sfew class": (
        "sfew",
        pictures("Train_Aligned_Faces/Contempt/a.png"),
        r"label Contempt of image Train_Aligned_Faces/Contempt/a\.png .* is out of range; expected 0 anger, 1 disgust",
    ),
    "sfew empty": (
        "sfew",
        {"Val_Aligned_Faces_new/Surprise/c.png": None, "Val_Aligned_Faces_new/notes.txt": b""},
        r"Val_Aligned_Faces_new holds no folders; expected FOLDER/Train_Aligned_Faces/Angry",
    ),
    "ckplus code": (
        "ckplus",
        {"Emotion/S005/001/S005_001_00000004_emotion.txt": b"   9.0000000e+00\n"},
        r"label 9 of image S005/001/S005_001_00000002\.png \(row 0\) is out of range; expected 0 neutral, 1 anger",
    ),
    "ckplus text": (
        "ckplus",
        {"Emotion/S005/001/S005_001_00000004_emotion.txt": b"disgust\n"},
        r"S005_001_00000004_emotion\.txt does not hold a single label code from 0 to 7; correct it or "
        r"remove the sequence",
    ),
    "ckplus frames": (
        "ckplus",
        {f"cohn-kanade-images/S010/001/S010_001_{frame:08d}.png": None for frame in (1, 2)},
        r"S010/001 holds 2 images of a labeled sequence; expected FOLDER/Emotion",
    ),
    "ckplus neutral": (
        "ckplus table",
        {"ck.csv": text("image_name,label", "image_0.png,7")},
        r"label 7 of image image_0\.png \(row 0\) is out of range; expected 0 anger, 1 contempt",
    ),
    "npz character": (
        "npz labels",
        {
            "faces.npz": archive(
                images=np.zeros((1, 4, 4), np.uint8), labels=np.array([0x110000], np.uint32).view("<U1")
            )
        },
        r"faces\.npz: labels is <U1 of shape \(1,\); expected one integer or name per row",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_way_to_be_wrong_has_its_line(tmp_path: Path, case: str) -> None:
    name, changes, message = WRONG[case]
    with warnings.catch_warnings(), pytest.raises(InputError, match=message) as caught:
        warnings.simplefilter("ignore", UserWarning)
        read(grow(tmp_path, name, changes), format=case.split()[0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_folder_is_answered_with_the_layout_that_was_wanted(tmp_path: Path, format: str) -> None:
    with pytest.raises(InputError, match="; expected ") as caught:
        read(tmp_path, format=format)
    assert "\n" not in str(caught.value)


def test_a_list_whose_name_does_not_tell_where_it_counts_from_is_not_guessed(tmp_path: Path) -> None:
    path = grow(tmp_path, "raf_db lists", {"mine.txt": text("a.jpg 1")}) / "mine.txt"
    with pytest.raises(
        InputError, match=r"the name of .*mine\.txt does not determine whether its labels count from 0 or 1"
    ):
        read(path, format="raf_db")


def test_an_unknown_format_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="format must be one of raf_db, ferplus, fer2013"):
        read(grow(tmp_path, "raf_db"), format="rafdb")


def test_a_format_that_does_not_fit_the_kind_of_path_is_refused(tmp_path: Path) -> None:
    path = grow(tmp_path, "npz labels")
    for format in FORMATS.keys() - {"npz"}:
        with pytest.raises(InputError):
            read(path, format=format)
