"""Weights for the package state how they were trained, without any path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from safetensors.torch import load_file

import qcs
from benchmarks.ferplus import weights_page
from benchmarks.ferplus.audit import lineage
from benchmarks.ferplus.embed import averaged, halved, restated, settings_of
from qcs.engine.training import train
from qcs.errors import InputError
from qcs.models import save_model
from qcs.models.weights import read_config


def test_settings_hold_those_of_the_runs_before(tmp_path: Path) -> None:
    splits = toy.splits()
    first = train(toy.settings(output=str(tmp_path / "first"), epochs=1, minutes=3.0), splits).folder
    stated = save_model(
        qcs.load_model(first / "best.safetensors"),
        tmp_path / "stated.safetensors",
        info={"trained_with": settings_of(first)},
    )
    changes = dict(init=str(first), teachers=(str(first), str(stated)), epochs=1, minutes=2.0)
    second = train(toy.settings(output=str(tmp_path / "second"), **changes), splits).folder
    settings = settings_of(second)
    assert settings["init"] == settings_of(first) == settings["teachers"][0] == settings["teachers"][1]
    assert "/" not in json.dumps(settings) and settings["init"]["minutes"] == 3.0
    own, before = settings.pop("trained_minutes"), settings["init"]["trained_minutes"]
    assert 0 <= own < 1 and 0 <= before < 1  # what it took, not the budget
    assert weights_page.lineage({"lineage": lineage(settings)}).splitlines()[2:] == [
        f"1. `base_nano`, {before:g} minutes from random weights",
        "2. `base_nano`, 2 minutes from network 1; 50% of each target from networks 1 and 1",
    ]


def test_a_pretrained_backbone_is_named_in_the_lineage() -> None:
    run = dict(model="base_dlib", minutes=66, erasing=[0.02, 0.2], pretrained_backbone=True)
    text = weights_page.lineage({"lineage": lineage(run)})
    assert text.startswith("These weights come from one network, 66 minutes in total")
    assert text.endswith(
        "1. `base_dlib`, 66 minutes from pretrained weights of its backbone; parts of training images erased"
    )


def test_a_file_without_sizes_is_written_again_with_them_and_the_same_weights(tmp_path: Path) -> None:
    model: Any = qcs.create_model("base_nano").half()
    model.model_args["backbone_args"] = None
    path = save_model(model, tmp_path / "old.safetensors", info={"epoch": 3})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model), "resolved_args", property(lambda self: self.model_args))
        save_model(model, path, info={"epoch": 3})
    before, stated = load_file(path), read_config(path)
    assert stated["model_args"]["backbone_args"] is None
    after = load_file(restated(path))
    assert all(torch.equal(before[key], after[key]) and before[key].dtype == after[key].dtype for key in before)
    again = read_config(path)
    assert again["model_args"]["backbone_args"]["depths"] == [1, 1, 1] and again["info"] == stated["info"]


def test_weights_that_do_not_say_are_refused(tmp_path: Path) -> None:
    path = save_model(qcs.create_model("base_nano"), tmp_path / "silent.safetensors")
    with pytest.raises(InputError, match=r"silent\.safetensors does not state how it was trained"):
        settings_of(path)


def test_averaged_weights_lie_between_the_start_and_the_end_of_a_run(tmp_path: Path) -> None:
    before = save_model(named("base_nano"), tmp_path / "before.safetensors")
    settings = toy.settings(output=str(tmp_path / "run"), init=str(before), model="qcs_nano", epochs=1)
    with pytest.warns(UserWarning, match="holds a base network"):
        folder = train(settings, toy.splits()).folder
    start, end = qcs.load_model(before).state_dict(), qcs.load_model(folder / "best.safetensors").state_dict()
    found = averaged(qcs.load_model(folder / "best.safetensors"), folder, 0.75).state_dict()
    assert len(end) > len(start)
    for key, value in end.items():
        mean = 0.25 * start[key] + 0.75 * value if key in start and value.is_floating_point() else value
        torch.testing.assert_close(found[key], mean)


def test_a_run_of_fresh_weights_has_nothing_to_be_averaged_with(tmp_path: Path) -> None:
    folder = train(toy.settings(output=str(tmp_path / "run"), epochs=1), toy.splits()).folder
    with pytest.raises(InputError, match="started from random weights"):
        averaged(named("base_nano"), folder, 0.5)


def test_weights_are_halved_and_statistics_are_not() -> None:
    model = qcs.create_model("base_nano")
    norm = model.get_submodule("backbone.model.stages.0.0.norm1")
    norm.running_var.fill_(1e6)  # larger than half precision knows
    found = halved(model, "base_nano").state_dict()
    assert float(found["backbone.model.stages.0.0.norm1.running_var"].max()) == 1e6
    weight = model.state_dict()["base.head.weight"]
    assert torch.equal(found["base.head.weight"], weight.half().float())
    with torch.no_grad():
        model.base.head.bias.fill_(1e6)
    with pytest.raises(InputError, match="too large for half precision"):
        halved(model, "base_nano")


def named(name: str) -> qcs.CrossSimilarityNetwork:
    model = qcs.create_model(name, num_classes=3)
    model.name_classes(toy.CLASSES)
    return model
