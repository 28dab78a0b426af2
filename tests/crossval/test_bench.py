"""A bench loses nothing: killed, resumed, shared, full disk, diverged, refused."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from qcs.crossval import Bench, DataSource, Plan, published_split, read_results
from qcs.crossval import bench as bench_module
from qcs.crossval.bench import Outcome
from qcs.engine.training import Progress
from qcs.errors import InputError

PlanOf = Callable[..., Plan]


class Lines(Progress):
    """Collects what a bench says; ends the process's work after some steps."""

    def __init__(self, steps: float = float("inf")) -> None:
        self.lines: list[str] = []
        self.steps = steps

    def say(self, line: str) -> None:
        self.lines.append(line)

    def step(self, batches: int, means: Any, left: Any) -> None:
        self.steps -= 1
        if self.steps <= 0:
            raise KeyboardInterrupt


def measured(folder: Path) -> dict[str, Any]:
    """All result files, without what the clock decides."""
    return {
        path.name: {name: value for name, value in json.loads(path.read_text()).items() if name != "timing"}
        for path in sorted((folder / "results").glob("*.json"))
    }


@pytest.fixture(scope="module")
def whole(plan_of: PlanOf, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path, Outcome]:
    """A bench of both protocols that ran without an interruption."""
    plan, folder = plan_of(protocols=("honest", "published")), tmp_path_factory.mktemp("bench") / "whole"
    return plan, folder, Bench(plan, folder).run()


def test_a_result_states_what_it_is_the_result_of(whole: tuple[Plan, Path, Outcome]) -> None:
    _, folder, outcome = whole
    assert [result.cell.protocol for result in outcome.finished] == ["honest", "published"]
    record = measured(folder)["published-toy-nano-00.json"]
    assert (
        record["seed"] == 0 and record["settings"]["model"] == "base_nano" and record["settings"]["data"] == "toy.npz"
    )
    assert "output" not in record["settings"] and "seed" not in record["settings"]
    assert {"sha256", "content_sha256", "split", "split_sha256", "grouped_by"} <= record["data"].keys()
    assert {"torch", "sklearn", "python"} <= record["environment"]["versions"].keys()
    sizes = {name: sum(counts.values()) for name, counts in record["data"]["split"].items()}
    assert sizes == dict(zip(("train", "validation", "test"), map(len, published_split(63, 0)), strict=True))
    best = max(record["history"], key=lambda each: each["validation_accuracy"])
    assert record["best_epoch"] == best["epoch"]
    assert record["validation"]["accuracy"] == pytest.approx(best["validation_accuracy"])
    assert record["test"]["images"] == sizes["test"]
    assert not list((folder / "runs").glob("*/"))  # the weights are gone


def test_finished_cells_are_not_run_again(whole: tuple[Plan, Path, Outcome]) -> None:
    plan, folder, _ = whole
    outcome = Bench(plan, folder, progress=Lines(steps=1)).run()
    assert (len(outcome.before), outcome.finished) == (2, [])


def test_interrupted_in_a_cell_it_resumes_to_the_same_numbers(
    whole: tuple[Plan, Path, Outcome], tmp_path: Path
) -> None:
    plan, folder, _ = whole
    pieces = tmp_path / "pieces"
    for steps in (3, 9):  # in the first cell, and in the second
        with pytest.raises(KeyboardInterrupt):
            Bench(plan, pieces, progress=Lines(steps)).run()
    assert len(measured(pieces)) == 1
    Bench(plan, pieces).run()
    assert measured(pieces) == measured(folder)


def test_other_settings_in_the_same_folder_are_refused(whole: tuple[Plan, Path, Outcome], plan_of: PlanOf) -> None:
    _, folder, _ = whole
    other = plan_of({"nano": {"lr": 0.5}}, protocols=("honest",))
    with pytest.raises(InputError, match=r"honest-toy-nano-00\.json has other settings than the plan: lr; choose"):
        Bench(other, folder).run()


def test_a_training_that_diverges_is_recorded_and_not_run_again(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of({"wild": {"lr": 1e30, "schedule": "exponential"}, "nano": {}})
    first, second = Bench(plan, tmp_path / "bench").run().finished
    assert first.failed and "the loss became" in first.record["error"] and not second.failed
    assert len(Bench(plan, tmp_path / "bench").run().before) == 2
    (wild, nano) = read_results(tmp_path / "bench").rows("honest", "toy")
    assert (len(wild.failed), len(wild.finished), len(nano.finished)) == (1, 0, 1)


def test_what_cannot_run_does_not_end_the_others(plan_of: PlanOf, tmp_path: Path) -> None:
    data = {"gone": DataSource("gone.npz"), **plan_of().data}
    np.savez(tmp_path / "few.npz", images=np.zeros((6, 8, 8), np.uint8), labels=["happy", "sad"] * 3)
    data["few"] = DataSource(str(tmp_path / "few.npz"))
    lines = Lines()
    outcome = Bench(plan_of(data=data, repeats=2), tmp_path / "bench", progress=lines).run()
    assert [result.cell.data for result in outcome.finished] == ["toy", "toy"]
    gone, few = outcome.refused
    assert "gone.npz does not exist" in gone and "too few for a split by group" in few
    assert [len(cells) for cells in outcome.refused.values()] == [2, 2]
    assert len([line for line in lines.lines if "cannot run" in line]) == 2  # each reason once


def test_a_full_disk_ends_it_and_loses_nothing(
    whole: tuple[Plan, Path, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, folder, _ = whole
    write, left = bench_module.write_result, [1]

    def full(*arguments: Any) -> Any:
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        left.pop()
        return write(*arguments)

    monkeypatch.setattr(bench_module, "write_result", full)
    with pytest.raises(OSError, match="No space left"):
        Bench(plan, tmp_path / "bench").run()
    monkeypatch.undo()
    steps = Lines(steps=1)
    outcome = Bench(plan, tmp_path / "bench", progress=steps).run()  # the training is done: only its result is missing
    assert (len(outcome.before), len(outcome.finished), steps.steps) == (1, 1, 1)
    assert measured(tmp_path / "bench") == measured(folder)


def test_shards_are_disjoint_and_make_up_the_whole(plan_of: PlanOf) -> None:
    bench = Bench(plan_of(repeats=7), "bench")
    parts = [bench.cells((number, 3)) for number in (1, 2, 3)]
    assert sorted([*parts[0], *parts[1], *parts[2]]) == sorted(bench.cells())
    assert [len(part) for part in parts] == [3, 2, 2]
    with pytest.raises(InputError, match="the shard is 4/3; expected from 1/3 to 3/3"):
        bench.cells((4, 3))


def test_a_cell_that_another_process_runs_is_left_to_it(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of(repeats=2)
    (tmp_path / "bench" / "runs").mkdir(parents=True)
    with FileLock(tmp_path / "bench" / "runs" / ".honest-toy-nano-00.lock"):
        outcome = Bench(plan, tmp_path / "bench").run()
    assert [cell.repeat for cell in outcome.elsewhere] == [0]
    assert [result.cell.repeat for result in outcome.finished] == [1]


def test_several_processes_in_one_call_are_refused(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="give each process its cells with a shard, such as 3/8"):
        Bench(plan_of(), "bench").run()


def test_weights_are_kept_on_request(plan_of: PlanOf, tmp_path: Path) -> None:
    Bench(plan_of(), tmp_path / "bench", keep_weights=True).run()
    assert (tmp_path / "bench" / "runs" / "honest-toy-nano-00" / "best.safetensors").exists()


@pytest.mark.slow
def test_killed_at_any_moment_by_the_system_it_resumes_to_the_same_numbers(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of(protocols=("honest", "published"), settings={**plan_of().settings, "epochs": 4}, repeats=2)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan.to_dict()))
    Bench(plan, tmp_path / "whole").run()
    command = [sys.executable, "-m", "qcs", "crossval", str(path), "--output", str(tmp_path / "killed")]
    for wanted in (1, 3):  # cells
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        while len(measured(tmp_path / "killed")) < wanted and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.3)  # into the next cell
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    same = ("test", "validation", "history", "best_epoch", "settings", "data")
    for name, expected in measured(tmp_path / "whole").items():
        found = measured(tmp_path / "killed")[name]
        assert {key: found[key] for key in same} == {key: expected[key] for key in same}
