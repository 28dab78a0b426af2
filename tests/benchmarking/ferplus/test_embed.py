"""Weights for the package say how they came about, and name no place on a machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import toy

import qcs
from benchmarks.ferplus.card import _training
from benchmarks.ferplus.embed import settings_of
from qcs.engine import train
from qcs.errors import InputError
from qcs.models import save_model


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
    assert _training(settings) == (
        "Trained for 2 minutes, from weights of `base_nano` after 3 minutes; 50% of the targets is what 2 "
        "teachers say (`base_nano` after 3 minutes, `base_nano` after 3 minutes)"
    )


def test_weights_that_do_not_say_are_refused(tmp_path: Path) -> None:
    path = save_model(qcs.create_model("base_nano"), tmp_path / "silent.safetensors")
    with pytest.raises(InputError, match=r"silent\.safetensors does not say how it was trained"):
        settings_of(path)
