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
from torch.testing import assert_close

import qcs
from qcs.engine.training import resume

SAM_STEPS = """
import sys
import torch
from accelerate import Accelerator
import qcs
from qcs.engine.training import SAM
from qcs.engine.training.step import TrainingStep
from qcs.losses import JointLoss


def steps(folder):
    accelerator = Accelerator(cpu=True)
    torch.manual_seed(0)
    model = qcs.create_model("qcs_nano", num_classes=3, scope="world", batch_norm="world").double()
    network = accelerator.prepare_model(model)
    take = TrainingStep(network, SAM(torch.optim.Adam(network.parameters(), lr=1e-4), 0.05), JointLoss(), accelerator)
    generator, losses = torch.Generator().manual_seed(1), []
    for _ in range(10):
        images = torch.randn(4, 4, 3, 48, 48, generator=generator, dtype=torch.float64)
        labels = torch.tensor([[0, 1, 2, 0], [0, 1, 2, 0], [1, 2, 0, 2], [1, 2, 0, 2]])
        size = 4 // accelerator.num_processes
        own = slice(accelerator.process_index * size, (accelerator.process_index + 1) * size)
        loss = take([([x[own] for x in images], labels[:, own])])["loss"]
        losses.append(float(accelerator.reduce(loss, reduction="mean")))
    if accelerator.is_main_process:
        torch.save({"losses": losses, "weights": model.state_dict()}, f"{folder}/{accelerator.num_processes}.pt")
    accelerator.end_training()


steps(sys.argv[1])
"""


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
    script = tmp_path / "steps.py"
    script.write_text(SAM_STEPS)
    for processes in (1, 2):
        started = launch(processes, tmp_path, str(script), str(tmp_path))
        _, errors = started.communicate(timeout=300)
        assert started.returncode == 0, errors
    one, two = (torch.load(tmp_path / f"{processes}.pt") for processes in (1, 2))
    assert_close(two["losses"], one["losses"], rtol=1e-9, atol=0)
    assert len(set(one["losses"])) == 10
    for name, weight in one["weights"].items():
        assert_close(two["weights"][name], weight, rtol=0, atol=1e-8, msg=name)


@pytest.mark.slow
def test_a_dead_process_ends_the_job_and_one_alone_goes_on(tmp_path: Path) -> None:
    toy.archive(tmp_path / "squares.npz")
    options: dict[str, Any] = {"model": "base_nano", "epochs": 30, "batch-size": 3, "fraction": 1, "output": "run"}
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
    assert [record["epoch"] for record in result.history] == list(range(1, 31))


def workers_of(parent: int, rank: int) -> list[int]:
    """Processes that a launcher started, by their rank."""
    return [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit()
        and f"\nPPid:\t{parent}\n" in (folder / "status").read_text()
        and f"\0RANK={rank}\0" in (folder / "environ").read_text()
    ]
