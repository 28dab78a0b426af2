"""The run folder: claimed once, written whole, taken back when a run comes to nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from qcs.engine.run_folder import RunFolder
from qcs.errors import InputError
from qcs.files import write_text


def test_create_makes_the_folder_with_its_parents_and_leaves_it_empty(tmp_path: Path) -> None:
    RunFolder(tmp_path / "runs" / "first").create()
    assert list((tmp_path / "runs" / "first").iterdir()) == []


@pytest.mark.parametrize("trace", ["config.json", "tensorboard"])
def test_create_refuses_a_folder_that_holds_a_run(tmp_path: Path, trace: str) -> None:
    (tmp_path / trace).mkdir()
    with pytest.raises(InputError, match=r"already holds a run; choose another output folder"):
        RunFolder(tmp_path).create()


def test_create_passes_on_that_the_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file/run"):
        RunFolder(tmp_path / "file" / "run").create()


def test_discard_removes_what_the_run_wrote_and_nothing_else(tmp_path: Path) -> None:
    for files in ([], ["log.txt"]):
        folder = RunFolder(tmp_path / f"run with {len(files)} files of others")
        folder.create()
        folder.write_json("config.json", {})
        folder.write_json("metrics.json", [])
        (folder.path / "tensorboard").mkdir()
        (folder.path / "tensorboard" / "events").touch()
        for name in files:
            (folder.path / name).touch()
        folder.discard()
        assert folder.path.exists() == bool(files)
        assert not files or [file.name for file in folder.path.iterdir()] == files


def test_a_write_that_fails_names_the_file_keeps_the_old_one_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, text: str, **options: object) -> int:
        self.write_bytes(text.encode()[:4])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = write_text(tmp_path / "metrics.json", "the old ones")
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"cannot write .*metrics\.json: No space left on device"):
        RunFolder(tmp_path).write_json("metrics.json", [{"epoch": 2}])
    assert target.read_bytes() == b"the old ones"
    assert list(tmp_path.iterdir()) == [target]
