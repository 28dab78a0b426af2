"""Results of an earlier run, read to go on after them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixed_faces import face

from qcs.errors import InputError
from qcs.faces import Faces, Picture
from qcs.faces.recorded import Recorded
from qcs.faces.result_file import ResultFile

CLASSES = ("happy", "=sad")


def picture(name: str, frame: int | None = None) -> Picture:
    return Picture(name, None, Path("a.png"), frame, None if frame is None else frame / 25)


def faces(count: int, of: Picture) -> Faces:
    found = Faces.of([face(10 * (n + 1), 20, 50) for n in range(count)])
    probabilities = np.tile([[0.75, 0.25]], (count, 1))
    return Faces(found.boxes, found.landmarks, found.scores, probabilities, CLASSES, np.arange(count) + 7, picture=of)


PICTURES = [picture("=a.png"), *(picture("clip.mp4", frame) for frame in range(4)), picture("caf\udce9.png")]
COUNTS = [1, 2, 0, 1, 2, 2]


@pytest.fixture(params=["jsonl", "csv"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    out = tmp_path / f"out.{request.param}"
    with ResultFile(out, CLASSES) as file:
        for each, count in zip(PICTURES, COUNTS, strict=True):
            file.write(faces(count, each))
    return out


def test_recorded_faces_are_those_that_were_written(path: Path) -> None:
    recorded = Recorded(path, CLASSES)
    last = 5 if path.suffix == ".csv" else 6  # of a table the last picture may lack rows
    for each, count in zip(PICTURES[:last], COUNTS[:last], strict=True):
        found = recorded.of(each)
        assert found is not None
        assert found.picture is each
        assert found.to_dict() == faces(count, each).to_dict()
    assert [recorded.of(each) is None for each in PICTURES[last:]] == [True] * (6 - last)
    assert recorded.of(picture("clip.mp4", 4)) is None
    assert recorded.of(picture("b.png")) is None


def test_every_cut_loses_at_most_the_last_picture_and_what_follows_completes_it(path: Path) -> None:
    text = path.read_bytes()
    for size in range(len(text)):
        path.write_bytes(text[:size])
        recorded = Recorded(path, CLASSES)
        with ResultFile(path, CLASSES, after=recorded.end) as file:
            for each, count in zip(PICTURES, COUNTS, strict=True):
                if recorded.of(each) is None:
                    file.write(faces(count, each))
        assert path.read_bytes() == text, size


def test_a_missing_file_holds_nothing(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path / "out.csv", CLASSES)
    assert (recorded.end, recorded.records, recorded.of(picture("a.png"))) == (0, 0, None)


def test_frames_between_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with ResultFile(path, CLASSES) as file:
        for frame in (0, 3):
            file.write(faces(1, picture("clip.mp4", frame)))
    recorded = Recorded(path, CLASSES)
    found = [recorded.of(picture("clip.mp4", frame)) for frame in range(5)]
    assert [None if each is None else len(each) for each in found] == [1, 0, 0, 1, None]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("out.jsonl", "[]\n", "line .* is no record"),
        ("out.jsonl", '{"path": "a"}\n', "line .* is no record"),
        ("out.jsonl", '{"faces": [3]}\n', "its classes are , not happy, =sad"),
        ("out.csv", "a,b\n1,2\n", "its columns differ"),
        ("out.json", "[]", "JSON is written at the end"),
        ("out.txt", "", r"output must end in \.json"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        Recorded(tmp_path / name, CLASSES)
