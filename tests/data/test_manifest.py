from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from trees import TREES, archive, grow

from qcs import cli
from qcs.data.manifest import changes, manifest, write_manifest
from qcs.errors import InputError


def test_every_file_has_its_sha256_in_sorted_order_whatever_the_order_on_disk(tmp_path: Path) -> None:
    grow(tmp_path / "faces", "raf_db", {".cache/x": b"", "Image/.hidden": b""})
    found = manifest(tmp_path / "faces")
    _, files = TREES["raf_db"]
    assert found["files"] == {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    assert list(found["files"]) == sorted(files)
    grow(tmp_path / "again", "raf_db")
    assert manifest(tmp_path / "again")["sha256"] == found["sha256"]


@pytest.mark.parametrize("change", [{"a.jpg": b"other"}, {"a.jpg": None}, {"z.jpg": b"new"}])
def test_any_change_changes_the_total(tmp_path: Path, change: dict[str, bytes | None]) -> None:
    before = manifest(grow(tmp_path / "before", "raf_db lists"))
    assert manifest(grow(tmp_path / "after", "raf_db lists", change))["sha256"] != before["sha256"]


def test_hashes_of_splits_depend_on_pixels_and_labels_alone(tmp_path: Path) -> None:
    def splits(file: str, **change: object) -> dict[str, str]:
        arrays = {"images": np.arange(48, dtype=np.uint8).reshape(3, 4, 4), "labels": list("aba"), "split": [0, 0, 2]}
        (tmp_path / file).write_bytes(archive(**{**arrays, **change}))
        return manifest(tmp_path / file)["splits"]

    before = splits("a.npz")
    assert splits("b.npz", names=["x", "y", "z"]) == before
    other = splits("c.npz", labels=list("bba"))
    assert other["train"] != before["train"] and other["test"] == before["test"]


def test_it_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, output = grow(tmp_path / "faces", "folder"), tmp_path / "manifest.json"
    written = write_manifest(path, output)
    assert json.loads(output.read_text()) == written
    (path / "sad" / "b.png").unlink()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_manifest(path, output)
    assert json.loads(output.read_text()) == written
    assert sorted(os.listdir(tmp_path)) == ["faces", "manifest.json"]


def test_changed_missing_and_new_files_are_named(tmp_path: Path) -> None:
    path = grow(tmp_path / "faces", "folder")
    write_manifest(path, tmp_path / "m.json")
    assert changes(path, tmp_path / "m.json") == []
    grow(path, "folder", {"happy/a.png": b"changed", "sad/new.png": b""})
    (path / "sad" / "b.png").unlink()
    assert changes(path, tmp_path / "m.json") == ["happy/a.png", "sad/b.png", "sad/new.png"]


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', "{}"])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(InputError, match=r"m\.json is not a manifest: .*; write one with qcs data manifest"):
        changes(grow(tmp_path / "faces", "folder"), tmp_path / "m.json")


def test_what_cannot_be_described_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone does not exist; expected a folder or a file"):
        manifest(tmp_path / "gone")
    with pytest.raises(InputError, match="holds no file"):
        manifest(tmp_path)
    with pytest.raises(InputError, match=r"lies inside the data .*; write it to another folder"):
        write_manifest(grow(tmp_path, "folder"), tmp_path / "manifest.json")


def test_the_command_writes_and_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*options: str) -> tuple[object, str, str]:
        arguments = ["qcs", "data", "manifest", str(tmp_path / "faces"), "--output", str(tmp_path / "m.json"), *options]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    grow(tmp_path / "faces", "folder")
    status, out, _ = run()
    assert status == 0
    assert out.startswith(json.loads((tmp_path / "m.json").read_text())["sha256"])
    assert run("--verify")[0] == 0
    grow(tmp_path / "faces", "folder", {"sad/b.png": b"other"})
    status, _, err = run("--verify")
    assert status == 1
    assert re.fullmatch(r"error: 1 files of .*faces are not as in .*m\.json, first: sad/b\.png\n", err)
