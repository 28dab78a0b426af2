"""`qcs report`: what it writes and says."""

from __future__ import annotations

import re
import sys
import threading
import warnings
from pathlib import Path

import pytest

from qcs import cli


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)  # `main` sets both for good
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    monkeypatch.setattr(sys, "argv", ["qcs", "report", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def test_it_writes_one_file_and_says_where_and_what_is_not_in_it(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs / "base" / "metrics.json").write_text("{")
    before = set(tmp_path.iterdir())
    assert call(monkeypatch, runs / "base", runs / "quadruplet") == 0
    said = capsys.readouterr()
    assert re.fullmatch(r"wrote report.html \(\d\.\d MB, \d+ s\)\n", said.out)
    assert re.fullmatch(r"not shown: base: .*metrics\.json is corrupt: .*\n", said.err)
    assert {path.name for path in set(tmp_path.iterdir()) - before} == {"report.html"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "error: nowhere is not a run folder: it has no config.json"),
        (["{runs}/base", "--output", "report.pdf"], "error: the report is an HTML file: its name must end in .html"),
        (
            ["{runs}/base", "--groups", "gender"],
            "faces.csv has the columns path, label, split, group, subject; expected",
        ),
        (["{runs}/base", "--output", "{runs}/faces.csv/report.html"], "error: cannot write "),
    ],
)
def test_what_a_user_can_correct_is_one_line(
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    before = set(tmp_path.rglob("*"))
    assert call(monkeypatch, *(argument.format(runs=runs) for argument in arguments)) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert set(tmp_path.rglob("*")) == before
