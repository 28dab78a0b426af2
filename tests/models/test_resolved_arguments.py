"""A weights file states its whole architecture: later defaults of its name do not change what it is loaded into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import qcs
from qcs.engine.training.initial import implied_settings
from qcs.models import ir, save_model, zoo
from qcs.models.weights import read_config


def test_a_file_of_a_name_whose_defaults_have_changed_loads_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model: Any = qcs.create_model("qcs_nano", num_classes=3, in_chans=1).eval()
    path = save_model(model, tmp_path / "old.safetensors")
    images = torch.randn(2, 1, 48, 48)
    expected = model(images)
    monkeypatch.setitem(ir.NANO, "depths", (2, 1, 1))
    monkeypatch.setitem(ir.NANO, "widths", (32, 48, 96))
    for name, value in dict(embed_dim=32, base_depth=2, num_heads=4, mlp_ratio=4.0, grid_size=3).items():
        monkeypatch.setitem(zoo.NANO, name, value)
    torch.testing.assert_close(qcs.load_model(path)(images), expected)
    with pytest.raises(qcs.errors.InputError):
        qcs.create_model("qcs_nano", num_classes=3, in_chans=1, checkpoint_path=path)  # today's network is another one


def test_a_file_states_every_size_of_a_backbone_of_this_library(tmp_path: Path) -> None:
    stated = read_config(save_model(qcs.create_model("base_small"), tmp_path / "a.safetensors"))["model_args"]
    assert stated["backbone_args"] == dict(
        depths=[2, 2, 2, 2], widths=[32, 64, 128, 256], strides=[2, 2, 2, 1], stem_width=32, stem_stride=1
    )
    assert not [name for name, value in stated.items() if value is None]


def test_given_sizes_are_stated_and_survive_a_second_save(tmp_path: Path) -> None:
    model: Any = qcs.create_model("base_nano", backbone_args={"depths": (1, 2, 1)})
    first = save_model(model, tmp_path / "first.safetensors")
    second = save_model(qcs.load_model(first), tmp_path / "second.safetensors")
    assert read_config(first)["model_args"] == read_config(second)["model_args"]
    assert read_config(second)["model_args"]["backbone_args"]["depths"] == [1, 2, 1]


def test_training_takes_over_the_sizes_of_a_file_only_where_they_are_others(tmp_path: Path) -> None:
    same = save_model(qcs.create_model("base_nano"), tmp_path / "same.safetensors")
    assert implied_settings(str(same))["model_args"] == {}
    deeper: Any = qcs.create_model("base_nano", backbone_args={"depths": (1, 2, 1)})
    other = save_model(deeper, tmp_path / "other.safetensors")
    assert implied_settings(str(other))["model_args"]["backbone_args"]["depths"] == [1, 2, 1]


def test_arguments_of_a_backbone_of_timm_stay_as_given() -> None:
    model: Any = qcs.create_model("base_any", backbone="mobilenetv3_small_050", img_size=64)
    assert model.resolved_args == model.model_args
