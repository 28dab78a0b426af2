"""Files of predictions, written while they are made."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from qcs.engine.prediction_output import PredictionFile
from qcs.errors import InputError


def record(name: str) -> dict[str, Any]:
    return {"path": name, "label": "happy", "probabilities": {"happy": 2 / 3, "sad": 1 / 3}}


def file(path: Path) -> PredictionFile:
    return PredictionFile(path, ["happy", "sad"], pictures=False)


@pytest.mark.parametrize(("suffix", "lines"), [("jsonl", 2), ("csv", 3)])
def test_rows_are_on_disk_before_the_next_one(tmp_path: Path, suffix: str, lines: int) -> None:
    out = file(tmp_path / f"out.{suffix}")  # never closed, as in a process that is killed
    for name in ("a.png", "b.png"):
        out.add(record(name))
    assert len((tmp_path / f"out.{suffix}").read_text().splitlines()) == lines


def test_json_appears_complete_even_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), file(tmp_path / "out.json") as out:
        out.add(record("a.png"))
        assert not (tmp_path / "out.json").exists()
        out.add(record("b.png"))
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
        out.add(record("日,本\n.png"))
    content = (tmp_path / "out.csv").read_bytes()
    assert content.startswith(b"path,label,happy,sad\r\n")
    assert content.endswith(b",happy,0.6667,0.3333\r\n")
    assert b"\r\r" not in content
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as table:
        assert [row["path"] for row in csv.DictReader(table)] == ["日,本\n.png"]


def test_no_cell_of_a_table_is_a_formula_and_json_keeps_the_names(tmp_path: Path) -> None:
    classes = ["=happy", "@sad", "-1", "+x", "a=b"]
    names = ["=cmd|' /C calc'!A0.png", "-2+3.png", "+1.png", "@SUM(A1).png", "\t=1.png", "plain=1.png"]
    probabilities = dict.fromkeys(classes, 0.2)
    for kind in ("csv", "json"):
        with PredictionFile(tmp_path / f"out.{kind}", classes, pictures=False) as out:
            for name in names:
                out.add({"path": name, "label": classes[0], "probabilities": probabilities})
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.reader(table))
    assert rows[0] == ["path", "label", "'=happy", "'@sad", "'-1", "'+x", "a=b"]
    assert [row[0] for row in rows[1:]] == [*(f"'{name}" for name in names[:5]), "plain=1.png"]
    assert {row[1] for row in rows[1:]} == {"'=happy"}
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t"))]
    assert [each["path"] for each in json.loads((tmp_path / "out.json").read_text())] == names


def test_json_never_holds_a_value_that_json_lacks(tmp_path: Path) -> None:
    with file(tmp_path / "out.jsonl") as out, pytest.raises(ValueError, match="not JSON compliant"):
        out.add({"path": "a.png", "probabilities": {"happy": float("nan")}})


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
    with PredictionFile(path, [name], pictures=False) as file:
        file.add({"path": name, "label": name, "probabilities": {name: 0.25}})
    with path.open(newline="") as written:
        assert list(csv.reader(written)) == [["path", "label", f"'{name}"], [f"'{name}", f"'{name}", "0.2500"]]
