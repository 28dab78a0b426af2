"""Files of predictions, written while they are made."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from qcs.errors import InputError
from qcs.faces import Faces, Picture
from qcs.faces.result_file import ResultFile

HEAD = (
    "path,frame,seconds,number,track,left,top,right,bottom,score,left_eye_x,left_eye_y,right_eye_x,right_eye_y,"
    "nose_x,nose_y,mouth_left_x,mouth_left_y,mouth_right_x,mouth_right_y,quality,label"
)


def record(name: str) -> Faces:
    return Faces(
        probabilities=np.array([[2 / 3, 1 / 3]]), classes=("happy", "sad"), picture=Picture(name, None, Path("a.png"))
    )


def file(path: Path) -> ResultFile:
    return ResultFile(path, ["happy", "sad"])


@pytest.mark.parametrize(("suffix", "lines"), [("jsonl", 2), ("csv", 3)])
def test_rows_are_on_disk_before_the_next_one(tmp_path: Path, suffix: str, lines: int) -> None:
    out = file(tmp_path / f"out.{suffix}")  # never closed, as in a process that is killed
    for name in ("a.png", "b.png"):
        out.write(record(name))
    assert len((tmp_path / f"out.{suffix}").read_text().splitlines()) == lines


def test_json_appears_complete_even_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), file(tmp_path / "out.json") as out:
        out.write(record("a.png"))
        assert not (tmp_path / "out.json").exists()
        out.write(record("b.png"))
        raise KeyboardInterrupt
    assert [each["path"] for each in json.loads((tmp_path / "out.json").read_text())] == ["a.png", "b.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_without_a_record_nothing_is_written(tmp_path: Path) -> None:
    for name in ("out.json", "out.jsonl", "out.csv"):
        with file(tmp_path / name):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_table_ends_its_lines_once_and_has_four_digits(tmp_path: Path) -> None:
    with file(tmp_path / "out.csv") as out:
        out.write(record("日,本\n.png"))
    content = (tmp_path / "out.csv").read_bytes()
    assert content.startswith(HEAD.encode() + b",happy,sad\r\n")
    assert content.endswith(b",happy,0.6667,0.3333\r\n")
    assert b"\r\r" not in content
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as table:
        assert [row["path"] for row in csv.DictReader(table)] == ["日,本\n.png"]


def test_no_cell_of_a_table_is_a_formula_and_json_keeps_the_names(tmp_path: Path) -> None:
    classes = ["=happy", "@sad", "-1", "+x", "a=b"]
    names = ["=cmd|' /C calc'!A0.png", "-2+3.png", "+1.png", "@SUM(A1).png", "\t=1.png", "plain=1.png"]
    for kind in ("csv", "json"):
        with ResultFile(tmp_path / f"out.{kind}", classes) as out:
            for name in names:
                picture = Picture(name, None, Path("a.png"))
                out.write(Faces(probabilities=np.full((1, 5), 0.2), classes=tuple(classes), picture=picture))
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.reader(table))
    assert rows[0] == [*HEAD.split(","), "'=happy", "'@sad", "'-1", "'+x", "a=b"]
    assert [row[0] for row in rows[1:]] == [*(f"'{name}" for name in names[:5]), "plain=1.png"]
    assert {row[21] for row in rows[1:]} == {"'=happy"}
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t"))]
    assert [each["path"] for each in json.loads((tmp_path / "out.json").read_text())] == names


def test_json_never_holds_a_value_that_json_lacks(tmp_path: Path) -> None:
    with file(tmp_path / "out.jsonl") as out, pytest.raises(ValueError, match="not JSON compliant"):
        out.write(Faces(probabilities=np.array([[np.nan]]), classes=("happy",)))


def test_places_that_cannot_be_written_are_named_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"output must end in \.json, \.jsonl or \.csv"):
        file(tmp_path / "out.txt")
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*out\.csv: it is a folder"):
        file(tmp_path / "out.csv")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write .*out\.csv"):
        file(tmp_path / "file" / "out.csv")


@pytest.mark.parametrize("first", "=+-@\t\r\n")
def test_a_spreadsheet_computes_nothing_of_a_csv_file(tmp_path: Path, first: str) -> None:
    name, path = f"{first}1+1", tmp_path / "out.csv"
    faces = Faces(probabilities=np.array([[0.25]]), classes=(name,), picture=Picture(name, None, Path("a.png")))
    with ResultFile(path, [name]) as file:
        file.write(faces)
    with path.open(newline="") as written:
        head, row = csv.reader(written)
    assert head[-1] == row[0] == row[-2] == f"'{name}"
    assert row[-1] == "0.2500"
