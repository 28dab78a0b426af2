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


def test_a_folder_is_held_by_one_run_at_a_time_and_left_without_a_trace(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    in_use = pytest.raises(InputError, match="run is in use by another run that is still training")
    with folder.locked(), in_use, RunFolder(tmp_path / "run").locked():
        pytest.fail("two runs in one folder")
    assert not folder.path.exists()
    with folder.locked():
        folder.write_json("config.json", {})
    assert [path.name for path in folder.path.iterdir()] == ["config.json"]


def test_what_a_killed_run_left_is_no_obstacle_and_is_removed(tmp_path: Path) -> None:
    for name in (".lock", ".config.json.123.tmp", ".last.safetensors.99.tmp", ".tmpa1B2c3", ".mine.tmp", "notes.1.tmp"):
        (tmp_path / name).touch()
    with RunFolder(tmp_path).locked():
        assert {path.name for path in tmp_path.iterdir()} == {".lock", ".mine.tmp", "notes.1.tmp"}
    assert {path.name for path in tmp_path.iterdir()} == {".mine.tmp", "notes.1.tmp"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_loader_process_that_outlives_a_killed_run_does_not_hold_its_folder(tmp_path: Path) -> None:
    read, write = os.pipe()
    run = os.fork()
    if not run:
        with RunFolder(tmp_path).locked():
            if os.fork():
                os._exit(9)  # killed
            os.close(write)
            os.read(read, 1)  # until the test ends
            os._exit(0)
    os.waitpid(run, 0)
    with RunFolder(tmp_path).locked():
        os.close(write)


@pytest.mark.parametrize(
    ("files", "advice"),
    [
        (["config.json", "checkpoints/step-1"], r"folder, or go on with it: qcs train --resume .*$"),
        (["config.json"], r"folder, or remove this one: its run has no checkpoint to go on from$"),
        (["checkpoints/step-1"], r"folder, or remove this one: its run has no checkpoint to go on from$"),
        (["config.json", "validation.json"], r"choose another output folder$"),
    ],
)
def test_the_advice_on_a_used_folder_can_be_followed(tmp_path: Path, files: list[str], advice: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=advice):
        RunFolder(tmp_path).create()
