"""The one result type: columns of the faces of a picture."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixed_faces import face
from PIL import Image

from qcs.errors import InputError
from qcs.faces import Face, Faces, Picture


def three() -> Faces:
    found = Faces.of([face(10, 20, 50), face(100, 20, 90), face(300, 20, 70)])
    return replace(
        found,
        probabilities=np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]),
        classes=("happy", "sad"),
        tracks=np.array([4, 2, 9]),
        quality=np.array([0.5, 1.0, 0.25]),
        data={"reason": ["", "small", "blurred"]},
        picture=Picture("clip.mp4", Image.new("RGB", (400, 120)), Path("clip-3.png"), 3, 0.12, 25.0),
    )


def test_a_row_has_what_the_columns_hold() -> None:
    row = three()[1]
    assert row == Face(
        (100, 20, 190, 110),
        face(100, 20, 90).landmarks,
        0.99,
        {"happy": 0.2, "sad": 0.8},
        number=2,
        track=2,
        quality=1.0,
        data={"reason": "small"},
    )
    assert (row.label, row.area, repr(row)) == ("sad", 8100, "2  sad 80.0%  box 100, 20, 190, 110")
    assert three()[-1] == three()[2]
    with pytest.raises(IndexError):
        three()[3]


def test_rows_and_columns_are_the_same_faces() -> None:
    faces = three()
    assert Faces.of(list(faces), faces.picture) == faces
    assert Faces.of([]) == Faces.of([], classes=("a",))
    assert len(Faces()) == len(Faces.of([])) == 0


@pytest.mark.parametrize("index", [[2, 0], np.array([2, 0]), slice(None, None, -2)])
def test_an_index_of_several_gives_those_in_its_order(index: object) -> None:
    some = three()[index]  # type: ignore[call-overload]
    assert [row.box for row in some] == [three()[2].box, three()[0].box]
    assert (some.tracks.tolist(), some.data["reason"], some.labels) == ([9, 4], ["blurred", ""], ["happy", "happy"])
    assert [row.number for row in some] == [1, 2]
    assert some.picture is not None


def test_masks_and_empty_lists_are_indices_too() -> None:
    assert [row.track for row in three()[three().scores > 2]] == []
    assert [row.track for row in three()[three().quality > 0.3]] == [4, 2]
    assert len(three()[[]]) == 0
    assert three()[[]].probabilities.shape == (0, 2)


def test_the_largest_is_first() -> None:
    assert three().largest_first().tracks.tolist() == [2, 9, 4]


def test_a_record_can_be_read_again() -> None:
    record = json.loads(json.dumps(three().to_dict()))
    assert list(record) == ["path", "frame", "seconds", "faces"]
    assert list(record["faces"][0]) == [
        *("number", "track", "box", "score", "landmarks", "quality", "label", "probabilities", "reason")
    ]
    again = Faces.from_dict(record)
    assert (again.path, again.frame, again.seconds) == ("clip.mp4", 3, 0.12)
    assert replace(again, picture=three().picture) == three()


@pytest.mark.parametrize(
    "record", [{}, {"faces": 3}, {"faces": [3]}, {"faces": [{"box": [1, 2]}]}, {"faces": [{"landmarks": {}}]}]
)
def test_what_is_no_record_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Faces.from_dict(record)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"scores": [0.5, 0.5], "tracks": [1]}, "different lengths: scores 2, tracks 1; expected one row per face"),
        ({"scores": [0.5], "data": {"reason": []}}, "different lengths: reason 0, scores 1"),
        ({"boxes": np.zeros((2, 5))}, r"boxes of faces have the shape \(2, 5\); expected \(n, 4\)"),
        ({"boxes": np.zeros(4)}, r"boxes of faces have the shape \(4,\); expected \(n, 4\)"),
        ({"landmarks": np.zeros((2, 4, 2))}, r"shape \(2, 4, 2\); expected \(n, 5, 2\)"),
        ({"scores": ["high"]}, "scores of faces are no numbers"),
        ({"probabilities": [[0.5, 0.5]], "classes": ("a",)}, "2 probabilities each and 1 classes; expected as many"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Faces(**columns)  # type: ignore[arg-type]


def test_rows_that_know_different_things_are_refused() -> None:
    with pytest.raises(InputError, match="a column is known of some faces and not of others"):
        Faces.of([face(0, 0, 10), Face(score=0.5)])


def test_what_is_not_known_is_said() -> None:
    with pytest.raises(InputError, match="the face is not classified"):
        _ = face(0, 0, 10).label
    with pytest.raises(InputError, match="the picture of these faces is not known"):
        Faces.of([]).annotated()
    assert repr(Faces.of([face(0, 0, 10)])) == "1 face\n  1  face 99.0%  box 0, 0, 10, 10"
    assert repr(Faces(error="no such file")) == "no such file"


def test_marks_carry_the_number_of_the_track() -> None:
    assert (three().annotated().getpixel((100, 60)), three()[0].name) == ((86, 180, 233), 4)
    assert three().without_pixels().picture.loaded is None


@pytest.mark.slow
def test_the_result_type_its_writers_and_the_detector_need_no_pytorch() -> None:
    code = (
        "import sys; import qcs.faces.annotated, qcs.faces.mtcnn, qcs.faces.recorded, qcs.faces.folder;"
        "print([name for name in sys.modules if name.partition('.')[0] in ('torch', 'timm', 'torchvision')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "[]\n"
