"""Checkpoints: what goes in comes out, and nothing corrupt ever does."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from qcs.engine.training.checkpoints import Checkpoints
from qcs.errors import InputError
from qcs.files import sha256


def state(value: float = 1.0) -> dict[str, Any]:
    return {
        "model": {"weight": torch.full((3, 2), value), "count": torch.tensor(7)},
        "optimizer": {"state": {0: {"step": torch.tensor(2.0)}, 1: {}}, "groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]},
        "history": [{"loss": 0.1 + 0.2}],
        "best": [0, -math.inf],
        "none": None,
        "empty": torch.zeros(0, dtype=torch.uint8),
        "half": torch.ones(2, dtype=torch.bfloat16),
    }


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(3, state())
    back = Checkpoints(tmp_path).load_newest()
    assert torch.equal(back["model"]["weight"], torch.ones(3, 2)) and back["model"]["count"].shape == ()
    assert back["optimizer"]["state"].keys() == {0, 1}  # numbers stay numbers
    assert back["optimizer"]["groups"] == [{"lr": 0.1, "betas": [0.9, 0.99]}]
    assert back["history"] == [{"loss": 0.1 + 0.2}] and back["best"] == [0, -math.inf] and back["none"] is None
    assert back["empty"].dtype == torch.uint8 and back["half"].dtype == torch.bfloat16


def test_the_newest_few_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert not checkpoints
    for step in (9, 10, 100):
        checkpoints.save(step, state(step))
    assert checkpoints
    assert [path.name[:15] for path in sorted(tmp_path.iterdir())] == ["step-0000000010", "step-0000000100"]
    assert checkpoints.load_newest()["model"]["weight"][0, 0] == 100


@pytest.mark.parametrize("corruption", ["flipped bit", "truncated", "empty", "swapped"])
def test_a_corrupt_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path: Path, corruption: str) -> None:
    checkpoints = Checkpoints(tmp_path)
    older, newer = checkpoints.save(1, state(1)), checkpoints.save(2, state(2))
    content = bytearray(newer.read_bytes())
    content[-1] ^= 1
    newer.write_bytes(
        {
            "flipped bit": bytes(content),
            "truncated": newer.read_bytes()[:-5],
            "empty": b"",
            "swapped": older.read_bytes(),
        }[corruption]
    )
    lines: list[str] = []
    assert checkpoints.load_newest(lines.append)["model"]["weight"][0, 0] == 1
    assert lines == [
        f"checkpoint {newer.name} is corrupt (its content does not match the hash in its name); using the one before it"
    ]


def test_no_checkpoint_or_only_corrupt_ones_is_an_error(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(InputError, match="no checkpoint to resume from in"):
        checkpoints.load_newest()
    checkpoints.save(1, state()).write_bytes(b"x")
    with pytest.raises(InputError, match="no checkpoint to resume from in"):
        checkpoints.load_newest()


def test_a_write_that_fails_leaves_the_checkpoints_before_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    before = checkpoints.save(1, state(1))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qcs.engine.training.checkpoints.os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(2, state(2))
    assert list(tmp_path.iterdir()) == [before]


def test_only_tensors_and_plain_values_are_taken(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not object"):
        Checkpoints(tmp_path).save(1, {"x": object()})
    assert list(tmp_path.iterdir()) == []


WRITER = """
import sys, torch
from qcs.engine.training.checkpoints import Checkpoints
checkpoints = Checkpoints(sys.argv[1])
for step in range(1, 100000):
    checkpoints.save(step, {"step": step, "weights": torch.full((200_000,), float(step))})
    print(step, flush=True)
"""


@pytest.mark.slow
def test_a_process_killed_while_writing_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    for attempt in range(4):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout is not None
        for _ in range(5):
            written = int(process.stdout.readline())
        time.sleep(0.0013 * attempt)  # another moment of the write each time
        process.send_signal(signal.SIGKILL)
        process.wait()
        written = max([written, *map(int, process.stdout.read().split())])
        lines: list[str] = []
        back = Checkpoints(tmp_path).load_newest(lines.append)
        assert lines == [] and back["step"] >= written
        assert torch.equal(back["weights"], torch.full((200_000,), float(back["step"])))
        for path in tmp_path.iterdir():
            path.unlink()


def test_the_tree_is_plain_json_beside_the_tensors(tmp_path: Path) -> None:
    from safetensors import safe_open

    with safe_open(Checkpoints(tmp_path).save(1, {"lr": 0.1, "w": torch.ones(1)}), "pt") as file:
        assert json.loads(file.metadata()["tree"]) == {"items": [["lr", 0.1], ["w", {"\0tensor": "0"}]]}


@pytest.mark.parametrize("kind", ["broken link", "folder", "FIFO", "link to itself"])
def test_what_is_named_like_a_checkpoint_but_is_none_does_not_block_good_ones(tmp_path: Path, kind: str) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state(1))
    fake = tmp_path / f"step-0000000009-{'0' * 16}.safetensors"
    make = {
        "broken link": lambda: fake.symlink_to(tmp_path / "gone"),
        "folder": fake.mkdir,
        "FIFO": lambda: os.mkfifo(fake),
        "link to itself": lambda: fake.symlink_to(fake),
    }
    make[kind]()
    lines: list[str] = []
    assert checkpoints and checkpoints.load_newest(lines.append)["model"]["weight"][0, 0] == 1
    assert lines == [f"checkpoint {fake.name} is corrupt (it is no file, or a link to none); using the one before it"]
    checkpoints.save(2, state(2))
    checkpoints.save(3, state(3))
    assert checkpoints.load_newest()["model"]["weight"][0, 0] == 3
    assert len(checkpoints._files()) == 2
    checkpoints.discard()
    assert not checkpoints
    assert tmp_path.exists() == (kind == "folder")


@pytest.mark.parametrize("version", [None, "0", "2"])
def test_a_checkpoint_of_another_format_says_so(tmp_path: Path, version: str | None) -> None:
    from safetensors.torch import save_file

    content = tmp_path / "content"
    metadata = {"tree": "null", "qcs": "9.9"} | ({} if version is None else {"format": version})
    save_file({}, content, metadata=metadata)
    content.rename(tmp_path / f"step-0000000001-{sha256(content)[:16]}.safetensors")
    found = "unknown" if version is None else version
    with pytest.raises(
        InputError, match=rf"has the format {found}, this version of qcs .* wrote it \(9\.9\), or start"
    ):
        Checkpoints(tmp_path).load_newest()


def test_a_file_that_a_killed_process_was_writing_is_swept(tmp_path: Path) -> None:
    for name in (".being-written", ".tmpa1B2c3"):  # the second is of safetensors
        (tmp_path / name).touch()
    Checkpoints(tmp_path).sweep()
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_does_not_bring_back_a_run_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Checkpoints(tmp_path / "gone" / "checkpoints").save(1, state())
    assert list(tmp_path.iterdir()) == []
