"""A training killed and stopped at random moments ends with the same bits, and no two runs share a folder.

The sizes here fit every test run; `python -m pytest tests/engine/training/test_stress.py --stress 60` does 60 kills, 60
stops and 60 attempts at a second run. Everything that carries state is on: a teacher, EMA, SAM, accumulation, bf16,
loader processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import toy
from safetensors.torch import load_file

import qcs
from qcs.engine.training import train

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")]

# Runs the command line, several times in one process of which each attempt is a fork: importing takes seconds.
SERVER = """
import os, sys
import qcs.cli
from qcs.engine import training, run_folder
from qcs.engine.training import trainer
import accelerate, tensorboard, torch
torch.set_num_threads(1)
for line in sys.stdin:
    child = os.fork()
    if not child:
        sys.argv = ["qcs", *line.split()]
        log = os.open(os.environ["LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1), os.dup2(log, 2)
        os.setsid()
        try:
            qcs.cli.main()
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code or 0)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Server:
    """Starts the command line as processes of their own, without the seconds that imports take."""

    def __init__(self, folder: Path, name: str) -> None:
        self.log, self.alive = folder / name, 0
        paths = os.pathsep.join([str(Path(qcs.__file__).parents[1]), *sys.path])
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "LOG": name},
        )

    def start(self, *arguments: object) -> int:
        """Start a command; return the number of its process. The next call must be `wait`."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, arguments)) + "\n")
        self.process.stdin.flush()
        self.alive = self._number()
        return self.alive

    def wait(self) -> int:
        """Return the exit status of the command."""
        status, self.alive = self._number(), 0
        return status

    def _number(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def close(self) -> None:
        if self.alive:  # the test failed
            os.kill(self.alive, signal.SIGKILL)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def options(folder: Path, output: str) -> list[object]:
    given = {
        "data": folder / "squares.npz", "model": "base_nano", "epochs": 2, "batch-size": 4, "fraction": 1, "ema": 0.9,
        "sam-rho": 0.05, "accumulate": 2, "precision": "bf16", "workers": 1, "checkpoint-minutes": 0, "output": output,
        "teacher": folder / "teacher",
    }  # fmt: skip
    return ["train", *(text for name, value in given.items() for text in (f"--{name}", value))]


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[tuple[Server, Server]]:
    """Two servers, so that two runs can be active at a time."""
    both = Server(folder, "first.log"), Server(folder, "second.log")
    yield both
    for server in both:
        server.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, and a trained network that teaches."""
    folder = tmp_path_factory.mktemp("stress")
    toy.archive(folder / "squares.npz")
    train(toy.settings(folder / "squares.npz", output=str(folder / "teacher"), epochs=1))
    return folder


def checkpoints(run: Path) -> set[str]:
    with contextlib.suppress(FileNotFoundError):  # the run may remove the folder at this moment
        return {path.name for path in (run / "checkpoints").glob("step-*")}
    return set()


def wait_for_checkpoint(run: Path, before: set[str], process: int) -> None:
    deadline = time.monotonic() + 120
    while not checkpoints(run) - before and time.monotonic() < deadline and Path(f"/proc/{process}").exists():
        time.sleep(0.002)


def test_kills_and_stops_at_random_moments_cost_no_bit(
    folder: Path, servers: tuple[Server, Server], pytestconfig: pytest.Config
) -> None:
    count, chance = pytestconfig.getoption("--stress"), random.Random(pytestconfig.getoption("--stress-seed"))
    server, log = servers[0], servers[0].log
    assert (server.start(*options(folder, "whole")), server.wait())[1] == 0, log.read_text()
    expected = load_file(folder / "whole" / "last.safetensors")
    seconds = json.loads((folder / "whole" / "metrics.json").read_text())[-1]["seconds"]
    number = 0
    for end in [signal.SIGKILL, signal.SIGTERM] * count:
        run = folder / f"run-{number}"
        before = checkpoints(run)
        process = server.start(*(["train", "--resume", run] if before else options(folder, run.name)))
        wait_for_checkpoint(run, before, process)
        time.sleep(chance.uniform(0, seconds / 4))
        with contextlib.suppress(ProcessLookupError):  # it was faster
            if end == signal.SIGTERM or chance.random() < 0.5:
                os.killpg(process, end)  # the loader processes too
            else:
                os.kill(process, end)
        status = server.wait()
        if (run / "validation.json").exists() and not checkpoints(run):
            check_run(run, expected, to_its_end=status == 0)
            number += 1
            continue
        assert status == (-signal.SIGKILL if end == signal.SIGKILL else 128 + signal.SIGTERM), log.read_text()
        if end == signal.SIGTERM:
            *_, advice, error = log.read_text().splitlines()
            place = run if before else run.name  # as it was given
            assert advice.endswith(f"resume with: qcs train --resume {place}")
            assert error == "error: terminated"
    run = folder / f"run-{number}"
    if checkpoints(run):
        assert (server.start("train", "--resume", run), server.wait())[1] == 0, log.read_text()
        check_run(run, expected)


def check_run(run: Path, expected: dict[str, torch.Tensor], to_its_end: bool = True) -> None:
    """The weights are those of the run that nothing ended, and a process that got to its end left nothing behind."""
    got = load_file(run / "last.safetensors")
    assert got.keys() == expected.keys() and all(torch.equal(got[name], expected[name]) for name in expected)
    if to_its_end:
        assert not [path for path in run.rglob("*") if path.name.startswith(".") or path.suffix == ".tmp"]
        assert not (run / "checkpoints").exists()


def test_a_second_run_is_refused_every_time(
    folder: Path, servers: tuple[Server, Server], pytestconfig: pytest.Config
) -> None:
    first, second = servers
    given = changed(options(folder, "one"), "--epochs", 100_000)
    process = first.start(*given)
    wait_for_checkpoint(folder / "one", set(), process)
    for trial in range(pytestconfig.getoption("--stress")):
        again = ["train", "--resume", "one"] if trial % 2 else given
        assert (second.start(*again), second.wait())[1] == 1
        last = second.log.read_text().splitlines()[-1]
        assert last.startswith("error: one is in use by another run that is still training"), last
    os.kill(process, signal.SIGTERM)
    assert first.wait() == 128 + signal.SIGTERM


def test_of_two_runs_that_start_together_one_trains(
    folder: Path, servers: tuple[Server, Server], pytestconfig: pytest.Config
) -> None:
    for trial in range(pytestconfig.getoption("--stress")):
        given = changed(options(folder, f"race-{trial}"), "--epochs", 1)
        for server in servers:
            server.start(*given)
        assert sorted(server.wait() for server in servers) == [0, 1], servers[1].log.read_text()


def changed(arguments: list[object], option: str, value: object) -> list[object]:
    place = arguments.index(option) + 1
    return [*arguments[:place], value, *arguments[place + 1 :]]
