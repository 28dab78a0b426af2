"""Attended values of an attention that is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import qcs
from benchmarks.ferplus import attended
from benchmarks.ferplus.data import Data


def test_uniform_weights_divide_the_values_by_the_number_of_tokens(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = qcs.create_model("qcs_nano", num_classes=8, matrices="s")
    data = Data(folder)
    model.name_classes(data.official["validation"].classes)
    for module in model.cross_modules:
        torch.nn.init.zeros_(module.attention.proj.weight)  # all tokens are at one point, so weights are uniform
        torch.nn.init.zeros_(module.attention.proj.bias)
        module.attention.proj.bias.data[64:] = 1.0  # the values
    monkeypatch.setattr(attended, "QUADRUPLETS", 3)
    monkeypatch.setattr(attended, "load_model", lambda _: model)
    record = attended.write(data, tmp_path / "attended.json", batches=1)
    assert record == json.loads((tmp_path / "attended.json").read_text())
    assert len(record["levels"]) == 3
    for level in record["levels"]:
        assert level["largest"] == pytest.approx(1, abs=1e-5)
        assert level["ratio"] == pytest.approx(1 / 36, rel=1e-2)  # normalized tokens have the norm of the values
