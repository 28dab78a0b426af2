"""Classes with names that mean something elsewhere pass a whole training, its report, figures and predictions."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
import toy
from commands import QUICK, Run

from qcs.models.weights import read_class_names

NAMES = (b"$_$", b"caf\xe9", b"=1+1\n[red]<b>")  # mathematics, Latin-1, and what CSV, the terminal and HTML read


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder per split and class, with these names where the file system permits them."""
    folder = toy.tree(tmp_path / "data")
    for name, plain in zip(map(os.fsdecode, NAMES), toy.CLASSES, strict=True):
        for split in toy.SIZES:
            try:
                (folder / split / plain).rename(folder / split / name)
            except OSError:
                pytest.skip(f"the file system does not permit a folder named {name!r}")
    return folder


@pytest.mark.slow
def test_names_with_a_meaning_elsewhere_pass_training_report_and_figures(run: Run, data: Path, tmp_path: Path) -> None:
    commands = [
        ("train", "--data", data, *QUICK, "--model", "dcs_nano", "--output", "run"),
        ("evaluate", "run", "--data", data),
        ("report", "run", "--output", "report.html"),
        ("visualize", "confusion", "run", "--data", data, "--output", "figures"),
        ("visualize", "embedding", "run", "--data", data, "--output", "figures"),
        ("visualize", "attention", "run", "--data", data, "--output", "figures"),
        ("predict", data / "test", "--weights", "run", "--no-detect", "--output", "out.csv"),
        ("predict", data / "test", "--weights", "run", "--no-detect", "--output", "out.json"),
        ("push", "run", "some/name", "--dry-run", "card"),
    ]
    for arguments in commands:
        done = run(*arguments)
        assert done.status == 0, (arguments[0], done.err)
        assert all(line.isprintable() for line in (done.out + done.err).splitlines())
    names = {os.fsdecode(name) for name in NAMES}
    assert set(read_class_names(tmp_path / "run" / "best.safetensors") or ()) == names
    records = json.loads((tmp_path / "out.json").read_text())
    assert {name for record in records for name in record["faces"][0]["probabilities"]} == names
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "$_$" in page and "<b>" not in page.partition("[red]")[2][:20]
    with (tmp_path / "out.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert sorted(head[-3:]) == sorted(["$_$", r"caf\udce9", "'=1+1\n[red]<b>"])
    assert {row[head.index("label")] for row in rows} <= set(head[-3:])
