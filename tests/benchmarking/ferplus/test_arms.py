"""The arms at toy size: what they share, exact resuming, whole records, shards."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from benchmarks.ferplus import arms as module
from benchmarks.ferplus.__main__ import app
from benchmarks.ferplus.arms import ARMS, Arms, Job, Size, batches, jobs, part_of, shard
from benchmarks.ferplus.data import Data
from qcs.errors import InputError

SIZE = Size(steps=4, scarce_steps=2)


class Killed(BaseException):
    """Replaces the end of the process."""


@pytest.fixture
def experiment(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Arms:
    monkeypatch.setattr(module, "IMAGES_PER_STEP", 12)
    return Arms(Data(folder), SIZE, tmp_path / "results", tmp_path / "runs", Console(quiet=True))


def test_arms_of_a_seed_have_equal_initial_weights_and_other_seeds_have_others(experiment: Arms) -> None:
    started = {arm: experiment._started(Job(arm, 3)) for arm in ARMS}
    base = started["base"].model.state_dict()
    for training in started.values():
        assert all(torch.equal(value, base[name]) for name, value in training.model.state_dict().items())
    parts = [part for arm in ARMS[1:] if (part := started[arm].part) is not None]
    assert len(parts) == len(ARMS) - 1
    sham = parts[0].state_dict()
    for part in parts:
        weights = part.state_dict()
        assert all(torch.equal(weights[name], value) for name, value in sham.items())
    other = experiment._started(Job("base", 4)).model.state_dict()
    assert not torch.equal(other["base.head.weight"], base["base.head.weight"])


def test_batches_depend_on_seed_and_step_alone(experiment: Arms) -> None:
    images = experiment._training_images(Job("base", 0))
    model = experiment._started(Job("base", 0)).model
    whole = list(batches(images, model, 0, 0, 15))  # the second epoch begins after ten
    rest = list(batches(images, model, 0, 7, 15))
    for (x, y, z), (pixels, shares, labels) in zip(whole[7:], rest, strict=True):
        assert torch.equal(x, pixels) and torch.equal(y, shares) and (z == labels).all()
    assert all(sorted(labels[:3]) == sorted(set(labels)) for *_, labels in whole)
    assert not torch.equal(whole[0][0], next(batches(images, model, 1, 0, 1))[0])


@pytest.mark.parametrize("arm", ARMS)
def test_the_loss_covers_all_images_and_the_cross_loss_those_compared(experiment: Arms, arm: Any) -> None:
    training = experiment._started(Job(arm, 0))
    images = experiment._training_images(Job(arm, 0))
    pixels, shares, labels = next(batches(images, training.model, 0, 0, 1))
    losses = module.step_losses(training, pixels, shares, labels, (0, 0))
    changed = shares.clone()
    changed[:3] = shares[:3].flip(1)  # the exemplars
    others = module.step_losses(training, pixels, changed, labels, (0, 0))
    assert losses["base"] != others["base"]
    if arm == "base":
        assert losses["loss"] == losses["base"]
    else:
        assert losses["cross"] == others["cross"]
        assert losses["loss"] == (losses["base"] + losses["cross"]) / 2
    losses["loss"].backward()
    assert all(p.grad is not None for p in training.network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["base", "label-drawn"])
def test_a_run_goes_on_with_the_same_losses(
    experiment: Arms, tmp_path: Path, arm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dataclasses.replace(experiment, results=tmp_path / "whole", runs=tmp_path / "whole-runs")
    job = Job(arm, 1)
    expected = whole.run_one(job)
    assert expected is not None

    original, calls = module.step_losses, [0]

    def stopping(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            raise Killed
        return original(*args)

    often = dataclasses.replace(experiment, checkpoint_seconds=0)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, "step_losses", stopping)
        often.run([job])
    assert not list(tmp_path.glob("results/*.json")) and (experiment.runs / f"{job.name}.pt").exists()
    record = experiment.run_one(job)
    assert record is not None
    assert record["history"] == expected["history"]
    assert record["measures"] == expected["measures"]
    assert not (experiment.runs / f"{job.name}.pt").exists()


def test_when_the_time_is_up_a_checkpoint_is_left_and_nothing_is_started(experiment: Arms) -> None:
    job = Job("sham", 0)
    assert experiment.run_one(job, until=0) is None
    assert torch.load(experiment.runs / f"{job.name}.pt", weights_only=True)["step"] == 1
    experiment.run([Job("base", 0)], minutes=0)
    assert not (experiment.runs / "base-100percent-seed0.pt").exists()


def test_a_record_is_whole_and_kept(experiment: Arms, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("exemplars", 0, 25)
    experiment.run([job])
    record = json.loads((experiment.results / "exemplars-25percent-seed0.json").read_text())
    assert (record["arm"], record["percent"], record["seed"], record["steps"]) == ("exemplars", 25, 0, 2)
    assert sum(record["images"].values()) == 30
    measures = record["measures"]
    assert measures["both"]["images"] == measures["validation"]["images"] + measures["test"]["images"] == 32
    assert len(measures["predicted"]) == 32
    assert {"loss", "base", "cross", "base_of_compared"} < set(record["history"][0])
    monkeypatch.setattr(module, "step_losses", None)  # nothing is trained any more
    experiment.run([job])
    with pytest.raises(InputError, match="another size"):
        dataclasses.replace(experiment, size=Size()).run([job])


def test_copies_are_left_out(folder: Path) -> None:
    data = Data(folder)
    pixels = [np.asarray(image).tobytes() for image in data.official["train"].images]
    for split in ("validation", "test"):
        kept = data.without_copies(split)
        own = [np.asarray(image).tobytes() for image in kept.images]
        assert kept.soft is not None and len(set(own)) == len(own) and not set(own) & set(pixels)
        pixels += own
    assert len(data.without_copies("test")) == 17  # one is a training image
    with pytest.raises(InputError, match="only validation and test"):
        data.without_copies("train")


def test_a_part_has_the_share_of_every_class_and_at_least_two_images() -> None:
    labels = np.repeat([0, 1, 2], [1000, 200, 30])
    rows = part_of(labels, 5, seed=0)
    assert np.bincount(labels[rows]).tolist() == [50, 10, 2]
    assert (part_of(labels, 5, seed=0) == rows).all() and (part_of(labels, 5, seed=1) != rows).any()


def test_all_arms_of_a_seed_come_first_and_stay_in_one_shard() -> None:
    plan = list(jobs())
    assert len(plan) == 4 * 12 + 4 * 3 * 5
    assert [job.name for job in plan[:4]] == [f"{arm}-100percent-seed0" for arm in ARMS]
    parts = [shard(plan, f"{number}/3") for number in (1, 2, 3)]
    assert sorted(job.name for part in parts for job in part) == sorted(job.name for job in plan)
    for part in parts:
        assert not {job.seed for job in part} & {job.seed for other in parts if other is not part for job in other}
    for wrong in ("0/2", "3/2", "1", "a/b", "1/0"):
        with pytest.raises(InputError, match="such as 1/2"):
            shard(plan, wrong)


def test_the_command_line_checks_arms_and_shards_before_it_starts(folder: Path) -> None:
    for options, message in (
        (["--only", "pairs"], "arm must be one of base, sham, exemplars, label-drawn; got 'pairs'"),
        (["--only", "base", "--shard", "3/2"], "such as 1/2; got '3/2'"),
    ):
        result = CliRunner().invoke(app, ["arms", "--data", str(folder), *options])
        assert isinstance(result.exception, InputError) and message in str(result.exception)
