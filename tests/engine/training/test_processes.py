"""Several processes: two train as one with the double batch does, a dead one ends the job, and fewer can go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
import world_steps
from torch.testing import assert_close

import qcs
from qcs.engine.training import resume


def launch(processes: int, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join((str(Path(toy.__file__).parent), str(Path(qcs.__file__).parents[1])))
    environment = {**os.environ, "PYTHONPATH": paths, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return subprocess.Popen(
        [*start, *arguments], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.slow
def test_two_processes_that_compare_and_normalize_over_the_world_take_the_steps_of_one_with_both_batches(
    tmp_path: Path,
) -> None:
    world_steps.take_steps(tmp_path)
    started = launch(2, tmp_path, world_steps.__file__, str(tmp_path))
    _, errors = started.communicate(timeout=300)
    assert started.returncode == 0, errors
    one, two = (torch.load(tmp_path / f"{processes}.pt") for processes in (1, 2))
    assert_close(two["losses"], one["losses"], rtol=1e-9, atol=0)
    assert len(set(one["losses"])) == world_steps.STEPS
    for name, weight in one["weights"].items():
        assert_close(two["weights"][name], weight, rtol=0, atol=1e-8, msg=name)


@pytest.mark.slow
def test_a_dead_process_ends_the_job_and_one_alone_goes_on(tmp_path: Path) -> None:
    toy.archive(tmp_path / "squares.npz")
    options: dict[str, Any] = {"model": "base_nano", "epochs": 10, "batch-size": 3, "fraction": 1, "output": "run"}
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    started = launch(2, tmp_path, "-m", "qcs", "train", "--data", str(tmp_path / "squares.npz"), *given)
    checkpoints = tmp_path / "run" / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    (second,) = workers_of(started.pid, rank=1)
    os.kill(second, signal.SIGKILL)
    killed = time.monotonic()
    _, errors = started.communicate(timeout=60)
    assert time.monotonic() - killed < 45
    assert started.returncode != 0 and "Signal 9 (SIGKILL)" in errors
    result = resume(tmp_path / "run")
    assert [record["epoch"] for record in result.history] == list(range(1, 11))


def workers_of(parent: int, rank: int) -> list[int]:
    """Processes that a launcher started, by their rank."""
    return [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit()
        and f"\nPPid:\t{parent}\n" in (folder / "status").read_text()
        and f"\0RANK={rank}\0" in (folder / "environ").read_text()
    ]
