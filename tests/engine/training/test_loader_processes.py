"""Loader processes: what they need is checked at the start, and a dead one or a named pipe ends in one line."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import time
from multiprocessing import active_children
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import toy
from runs import check_equal

from qcs.data import read
from qcs.data.images import open_image
from qcs.data.loader_signals import leave_signals_to_main_process
from qcs.engine.training import Progress, resume, train
from qcs.engine.training.loader_processes import (
    SHARED_MEMORY,
    LostWorkerError,
    check_shared_memory,
    explain_lost_worker,
)
from qcs.engine.training.stopping import Stopped
from qcs.errors import InputError

needs_shared_memory = pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="needs /dev/shm")


def shrink(monkeypatch: pytest.MonkeyPatch, megabytes: int) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=megabytes * 1000, f_frsize=1000))


@needs_shared_memory
def test_shared_memory_that_is_too_small_is_found_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, 64)  # what Docker gives
    config = toy.settings(output=str(tmp_path / "run"), workers=8, batch_size=400, images_per_step=400)
    splits = {name: part.subset([0, 1, 2] * 200) for name, part in toy.splits().items()}
    said = (
        r"8 loader processes need up to 188 MB of shared memory, /dev/shm has 64 MB free: use --workers 2, a smaller "
        r"batch, or give the container more shared memory \(docker run --shm-size=4g\)"
    )
    with pytest.raises(InputError, match=said):
        train(config, splits)
    assert list(tmp_path.iterdir()) == []


@needs_shared_memory
def test_shared_memory_that_holds_the_batches_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, 64)
    check_shared_memory(0, 10**12)  # the main process needs none
    check_shared_memory(3, 64_000_000 // 7)  # two batches per loader process and the one in use
    with pytest.raises(InputError, match="use --workers 2"):
        check_shared_memory(3, 64_000_000 // 7 + 1)
    with pytest.raises(InputError, match="use --workers 0"):
        check_shared_memory(1, 64_000_000)
    with pytest.raises(InputError, match="use --workers 1,"):
        check_shared_memory(2, 64_000_000 // 7, processes=2)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_loader_process_ends_the_run_in_one_line_and_it_goes_on(tmp_path: Path) -> None:
    class Killer(Progress):
        steps = 0

        def step(self, *_: Any) -> None:
            self.steps += 1
            if self.steps == 3:  # there is a checkpoint of the first step
                for child in active_children():
                    os.kill(child.pid or 0, signal.SIGKILL)

    splits = toy.splits()
    config = toy.settings(output=str(tmp_path / "run"), workers=1, epochs=5, checkpoint_minutes=0.0)
    with pytest.raises(
        InputError,
        match=r"loader process \d+ (was ended by a signal \(Killed\)|ended unexpectedly)|a loader process ended",
    ):
        train(config, splits, Killer())
    gc.collect()  # PyTorch watches the dead process as long as the loader that had it exists
    assert len(resume(tmp_path / "run", splits).history) == 5


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="needs the sender of a signal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_keeps_the_step_it_came_in(tmp_path: Path, number: signal.Signals) -> None:
    """As a terminal or a cluster sends it; the checkpoint before would be that of an epoch."""

    class All(Progress):
        steps = 0

        def step(self, *_: Any) -> None:
            self.steps += 1
            if self.steps == 2:  # of 18 in an epoch
                loaders = [str(child.pid) for child in active_children()]
                assert loaders
                subprocess.run(["kill", f"-{number.value}", *loaders, str(os.getpid())], check=True)

    splits, folder = toy.splits(), tmp_path / "run"
    settings = dict(workers=2, epochs=2, batch_size=2, checkpoint_minutes=60.0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(Stopped) as stopped:
            train(toy.settings(output=str(folder), **settings), splits, All())
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.value.signal == number
    [checkpoint] = (folder / "checkpoints").iterdir()
    assert checkpoint.name.startswith("step-0000000002"), checkpoint
    check_equal(train(toy.settings(output=str(tmp_path / "whole"), **settings), splits), resume(folder, splits))


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="needs the sender of a signal")
def test_the_main_process_ends_a_loader_process_that_ignores_others() -> None:
    ready = multiprocessing.get_context("fork").Event()
    process = multiprocessing.get_context("fork").Process(target=_wait, args=[ready])
    process.start()
    assert ready.wait(20)
    subprocess.run(["kill", str(process.pid)], check=True)
    process.join(0.5)
    assert process.is_alive()
    process.terminate()
    process.join(20)
    assert process.exitcode == 0


def _wait(ready: Any) -> None:
    leave_signals_to_main_process()
    ready.set()
    time.sleep(60)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError("DataLoader worker (pid 12) is killed by signal: Bus error. It is"),
            r"12 was ended .*\(Bus error\)",
        ),
        (RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"), "12, 13 ended unexpectedly, perhaps"),
        (ConnectionResetError(104, "Connection reset by peer"), "a loader process ended unexpectedly, perhaps"),
        (EOFError(), "a loader process ended unexpectedly, perhaps"),
    ],
)
def test_each_way_to_lose_a_loader_process_is_one_line(error: Exception, said: str) -> None:
    with pytest.raises(LostWorkerError, match=said), explain_lost_worker():
        raise error


def test_other_errors_are_left_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explain_lost_worker():
        raise RuntimeError("shapes do not fit")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_in_the_data_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    for name in ("faces.npz", "faces.csv", "faces.txt"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(InputError, match=r"faces\.\w+ is neither a file nor a folder"):
            read(tmp_path / name)
    os.mkfifo(tmp_path / "face.png")
    with pytest.raises(InputError, match=r"cannot read image .*face\.png: it is not a regular file; replace"):
        open_image(tmp_path / "face.png")
    folder = toy.tree(tmp_path / "tree", "train")
    for name in ("x.png", "list.csv", "x"):
        os.mkfifo(folder / "train" / "sad" / name)
        os.mkfifo(folder / name)
    assert sum(map(len, read(folder).values())) == 36
    (tmp_path / "list.csv").write_text("path,label\nface.png,happy\n")
    with pytest.raises(InputError, match=r"1 of 1 images missing .* first: .*face\.png"):
        read(tmp_path / "list.csv")
