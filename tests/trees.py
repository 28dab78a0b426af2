"""Small datasets in every format that `qcs.data.read` knows, as the files of a folder."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Files = dict[str, bytes]

VOTES_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
VOTES = (
    ("Training", "fer0000000.png", (0, 9, 0, 0, 0, 0, 0, 0, 0, 1)),  # happy
    ("Training", "fer0000001.png", (5, 3, 0, 2, 0, 0, 0, 0, 0, 0)),  # nothing by majority, two classes by probability
    ("Training", "", (0, 0, 0, 0, 0, 0, 0, 0, 0, 10)),
    ("PublicTest", "fer0000003.png", (0, 0, 0, 8, 2, 0, 0, 0, 0, 0)),  # sad
    ("PrivateTest", "fer0000004.png", (0, 0, 0, 0, 0, 0, 0, 8, 2, 0)),  # contempt
)


def picture(value: int, suffix: str = ".png", size: tuple[int, int] = (8, 6)) -> bytes:
    """An image file of one gray value, 8 pixels wide and 6 high."""
    file = io.BytesIO()
    Image.new("L", size, value).save(file, format="PNG" if suffix == ".png" else "JPEG", quality=95)
    return file.getvalue()


def pictures(*names: str) -> Files:
    """Images of the values 0, 10, 20, ..."""
    return {name: picture(10 * i, Path(name).suffix) for i, name in enumerate(names)}


def text(*lines: str) -> bytes:
    """Lines in UTF-8."""
    return "".join(f"{line}\n" for line in lines).encode()


def array(value: Any) -> bytes:
    """A .npy file."""
    file = io.BytesIO()
    np.save(file, np.asarray(value))
    return file.getvalue()


def archive(**arrays: Any) -> bytes:
    """An .npz file."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def pixel_table(codes: tuple[int, ...] = (3, 6, 0, 4, 2), names: str = "emotion,pixels,Usage") -> bytes:
    """FER2013's table: the row's number is the value of its pixels; the Usage is that of `VOTES`."""
    rows = []
    for row, (code, (usage, _, _)) in enumerate(zip(codes, VOTES, strict=True)):
        cells = {"emotion": str(code), "pixels": " ".join([str(row)] * 48 * 48), "Usage": usage}
        rows.append(",".join(cells[name.strip()] for name in names.split(",")))
    return text(names, *rows)


def votes_table() -> bytes:
    """FERPlus's table of votes."""
    return text(VOTES_HEADER, *(f"{usage},{name},{','.join(map(str, votes))}" for usage, name, votes in VOTES))


def _fold(usage: str) -> bytes:
    rows = [(name, votes) for fold, name, votes in VOTES if fold == usage and name]
    return text(*(f'{name},"(0, 0, 48, 48)",{",".join(map(str, votes))}' for name, votes in rows))


def _ckplus() -> Files:
    frames = [f"S{s:03d}/001/S{s:03d}_001_{frame:08d}.png" for s in (5, 10, 11) for frame in (1, 2, 3, 4)]
    codes = {5: "   3.0000000e+00\n", 10: "   7.0000000e+00\n"}  # S011 has no label
    labels = {f"Emotion/S{s:03d}/001/S{s:03d}_001_00000004_emotion.txt": code.encode() for s, code in codes.items()}
    return {**pictures(*(f"cohn-kanade-images/{frame}" for frame in frames)), **labels}


_FER_IMAGES = [name for _, name, _ in VOTES if name]

TREES: dict[str, tuple[str, Files]] = {
    "raf_db": (
        "",
        {
            "EmoLabel/list_patition_label.txt": b"train_00001.jpg 5\ntrain_00002.jpg 1\ntest_0001.jpg 7",
            **pictures(*(f"Image/aligned/{name}_aligned.jpg" for name in ("train_00001", "train_00002", "test_0001"))),
        },
    ),
    "raf_db lists": (
        "",
        {
            "raf_db_basic_train.txt": text("a.jpg 4", "b.jpg 0"),
            "raf_db_basic_test.txt": text("c.jpg 6"),
            **pictures("a.jpg", "b.jpg", "c.jpg"),
        },
    ),
    "raf_db folders": ("", pictures("train/5/a.jpg", "train/1/b.jpg", "test/7/c.jpg")),
    "ferplus pixels": ("", {"fer2013new.csv": votes_table(), "pixels/unused.txt": b"", "fer2013.csv": pixel_table()}),
    "ferplus images": ("", {"fer2013new.csv": votes_table(), **pictures(*(f"images/{n}" for n in _FER_IMAGES))}),
    "ferplus folds": (
        "",
        {
            "FER2013Train/label.csv": _fold("Training"),
            "FER2013Valid/label.csv": _fold("PublicTest"),
            "FER2013Test/label.csv": _fold("PrivateTest"),
            **pictures("FER2013Train/fer0000000.png", "FER2013Train/fer0000001.png"),
            **pictures("FER2013Valid/fer0000003.png", "FER2013Test/fer0000004.png"),
        },
    ),
    "ferplus lists": (
        "",
        {
            "ferplus_training.txt": text("a.png 1"),
            "ferplus_test.txt": text("b.png 7"),
            **pictures("a.png", "b.png"),
        },
    ),
    "fer2013": ("fer2013.csv", {"fer2013.csv": pixel_table()}),
    "fer2013 icml": ("", {"icml_face_data.csv": pixel_table(names="emotion, Usage, pixels")}),
    "affectnet8 lists": (
        "",
        {
            "affectnet_training-cls8.txt": text("1/a b.jpg 6", "1/c.jpg 7"),
            "affectnet_validation-cls8.txt": text("d.jpg 0"),
            **pictures("1/a b.jpg", "1/c.jpg", "d.jpg"),
        },
    ),
    "affectnet7 list": (
        "train_annotations_7class.txt",
        {"train_annotations_7class.txt": text("a.jpg 6", "b.jpg 3"), **pictures("a.jpg", "b.jpg")},
    ),
    "affectnet8 annotations": (
        "",
        {
            **pictures("train_set/images/1.jpg", "train_set/images/2.jpg", "train_set/images/3.jpg"),
            **pictures("val_set/images/4.jpg"),
            "train_set/annotations/1_exp.npy": array("6"),
            "train_set/annotations/1_aro.npy": array("0.5"),
            "train_set/annotations/2_exp.npy": array("7"),
            "train_set/annotations/3_exp.npy": array("9"),
            "val_set/annotations/4_exp.npy": array(np.float64(0)),
        },
    ),
    "affectnet8 table": (
        "affectnet.csv",
        {
            "affectnet.csv": text(
                ",phase,img_path,label", "0,train,1/a.jpg,6", "1,train,1/b.jpg,7", "2,val,c.jpg,0", "3,val,d.jpg,10"
            ),
            **pictures("1/a.jpg", "1/b.jpg", "c.jpg", "d.jpg"),
        },
    ),
    "affectnet7 folders": ("", pictures("train/6/a.jpg", "train/7/b.jpg", "val/0/c.jpg")),
    "expw": (
        "",
        {
            "label/label.lst": text("a b.jpg 0 1 2 7 5 98.1 3", "a b.jpg 1 -1 0 3 9 60 6", "c.jpg 0 0 0 8 6 70.5 0"),
            **pictures("image/origin/a b.jpg", "image/origin/c.jpg"),
        },
    ),
    "sfew": (
        "",
        {
            **pictures("Train_Aligned_Faces/Angry/a.png", "Train_Aligned_Faces/Neutral/b.png"),
            **pictures("Val_Aligned_Faces_new/Surprise/c.png", "Test_Aligned_Faces/d.png"),
        },
    ),
    "sfew table": ("sfew.csv", {"sfew.csv": text("image_name,label", "a.png,4"), **pictures("a.png")}),
    "ckplus": ("", _ckplus()),
    "ckplus folders": (
        "",
        pictures("anger/S005_001_00000010.png", "happy/S005_002_00000010.png", "happy/S010_001_00000004.png"),
    ),
    "ckplus table": ("ck.csv", {"ck.csv": text("image_name,label", "image_0.png,1"), **pictures("image_0.png")}),
    "ckplus pixels": ("ckextended.csv", {"ckextended.csv": pixel_table((3, 6, 0, 7, 2))}),
    "npz votes": (
        "faces.npz",
        {
            "faces.npz": archive(
                images=np.zeros((5, 6, 8), np.uint8),
                votes=[votes for _, _, votes in VOTES],
                split=[0, 0, 0, 1, 2],
                names=list("abcde"),
            )
        },
    ),
    "npz labels": (
        "faces.npz",
        {
            "faces.npz": archive(
                images=np.zeros((3, 6, 8, 3), np.uint8),
                labels=["anger", "sad", "anger"],
                split=["train", "val", "test"],
            )
        },
    ),
    "folder": ("", pictures("happy/a.png", "sad/b.png", "sad/c.png")),
    "list": ("list.txt", {"list.txt": text("x y.png happy", "b.png sad"), **pictures("x y.png", "b.png")}),
    "list csv": (
        "list.csv",
        {
            "list.csv": text("path,label,split,subject", "x.png,happy,train,ann", '"y,z.png",sad,test,bob'),
            **pictures("x.png", "y,z.png"),
        },
    ),
}
"""The path to read, relative to the folder, and the files. The first word of a name is the format."""


def grow(folder: Path, name: str, changes: Mapping[str, bytes | None] | None = None) -> Path:
    """Writes one of the trees, with some files replaced, added or (None) left out, and returns the path to read."""
    path, files = TREES[name]
    for place, content in {**files, **(changes or {})}.items():
        if content is not None:
            file = folder / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    return folder / path
