"""Runs see what the plan says, go on after an interruption, and leave a whole record."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from benchmarks.ferplus.plan import condition
from benchmarks.ferplus.run import Experiment
from qcs.errors import InputError
from qcs.losses import JointLoss
from qcs.models import CrossSimilarityNetwork


class Killed(BaseException):
    """Replaces the end of the process."""


def test_as_many_images_pass_the_network_as_planned(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    original, seen = CrossSimilarityNetwork.forward, [0]

    def forward(self: CrossSimilarityNetwork, *images: Tensor, **options: Any) -> Any:
        if self.training:
            seen[0] += sum(len(batch) for batch in images)
        return original(self, *images, **options)

    experiment.run_one(condition("start"), seed=0)
    monkeypatch.setattr(CrossSimilarityNetwork, "forward", forward)
    record = experiment.run_one(condition("base-sam"), seed=0)
    assert seen[0] == record["views"] == experiment.budget.views


def test_warm_conditions_share_a_start_and_fresh_ones_have_none(experiment: Experiment) -> None:
    record = experiment.run_one(condition("dcs"), seed=3)
    start = json.loads((experiment.results / "start-seed0.json").read_text())
    weights = experiment.runs / "start-seed0" / "best.safetensors"
    assert record["start"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert record["config"]["lr"] < start["config"]["lr"] and "init" not in record["config"]
    assert start["start"] is None and experiment.run_one(condition("dcs-fresh"), seed=3)["start"] is None


@pytest.mark.slow
def test_a_run_goes_on_where_it_was(experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = [(condition("qcs"), 0)]
    whole = dataclasses.replace(experiment, results=tmp_path / "results", runs=tmp_path / "runs")
    whole.run(job)

    original, calls = JointLoss.forward, [0]

    def forward(self: JointLoss, *args: Any) -> dict[str, Tensor]:
        calls[0] += 1
        if calls[0] == 4:  # in the second round
            raise Killed
        return original(self, *args)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(JointLoss, "forward", forward)
        experiment.run(job)
    assert not (experiment.results / "qcs-seed0.json").exists()

    calls[0] = 100
    monkeypatch.setattr(JointLoss, "forward", forward)
    experiment.run(job)
    assert calls[0] == 102  # losses: the second round alone
    results = [json.loads((folder / "qcs-seed0.json").read_text()) for folder in (experiment.results, whole.results)]
    assert results[0]["measures"] == results[1]["measures"]


def test_a_record_is_whole_and_kept(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    job = condition("base-fer2013"), 1
    record = experiment.run_one(*job)
    path = experiment.results / "base-fer2013-seed1.json"
    assert record == json.loads(path.read_text())
    assert (record["config"]["seed"], record["config"]["data"]) == (1, "ferplus.npz")
    assert "output" not in record["config"]
    assert record["images"]["train"]["disgust"] == 1
    assert len(record["data"]["ferplus.npz"]) == len(record["data"]["muxspace"]) == 64
    measures = record["measures"]
    assert (measures["test"]["images"], measures["unseen"]["images"], measures["muxspace"]["images"]) == (18, 17, 6)
    assert {len(measures["predictions"][name]) for name in ("labels", "predicted")} == {18}

    monkeypatch.setattr(JointLoss, "forward", None)  # nothing is trained any more
    experiment.run([job])
    path.unlink()
    assert experiment.run_one(*job)["measures"] == measures

    longer = dataclasses.replace(experiment, budget=dataclasses.replace(experiment.budget, views=96))
    with pytest.raises(InputError, match="another budget"):
        longer.run([job])
    with pytest.raises(InputError, match="a run with other settings"):
        longer.run_one(*job)


def test_the_shortcut_is_run_too(experiment: Experiment) -> None:
    record = experiment.run_one(condition("synthetic-dcs"), seed=0)
    assert record["measures"]["images"] == 7 * 2 * 4
    assert record["measures"]["attention"] > 0
    assert list(record["data"]) == ["synthetic faces"]


def test_nothing_is_started_when_the_time_is_up(experiment: Experiment) -> None:
    experiment.run([(condition("base"), 5)], minutes=0)
    assert not (experiment.runs / "base-seed5").exists()
