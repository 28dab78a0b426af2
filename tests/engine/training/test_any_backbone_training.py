"""Training on timm's backbones: image size, weights to start from, frozen backbones, learning rates by layer."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import toy
from safetensors.torch import load_file, save_file

import qcs
from qcs.engine.training import TrainConfig, train
from qcs.engine.training.build import build_model
from qcs.engine.training.data import sources
from qcs.errors import InputError

SMALL = {"img_size": 64, "embed_dim": 16, "base_depth": 1, "num_heads": 2}


def settings(**changes: Any) -> TrainConfig:
    return toy.settings(**{"model": "base_any", "backbone": "test_resnet", "model_args": SMALL, "epochs": 1, **changes})


def weights(folder: Path) -> Path:
    """Weights of the backbone as timm's files hold them."""
    torch.manual_seed(4)
    path = folder / "test_resnet.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


def start_from(path: Path) -> dict[str, Any]:
    args = {**SMALL, "backbone_args": {"pretrained_cfg_overlay": {"file": str(path)}}}
    return dict(pretrained_backbone=True, model_args=args)


def test_small_grayscale_images_are_resized_to_the_backbone_s_and_the_run_can_be_used(tmp_path: Path) -> None:
    result = train(settings(model="qcs_any", output=str(tmp_path / "run"), fraction=0.5), toy.splits())
    model = qcs.load_model(result.folder / "best.safetensors")
    assert (model.model_args["backbone"], model.pretrained_cfg["input_size"]) == ("test_resnet", (3, 64, 64))
    assert result.test is not None


def test_timm_s_weights_are_what_the_training_starts_from(tmp_path: Path) -> None:
    path = weights(tmp_path)
    config = settings(**start_from(path))
    model, _ = build_model(config, sources(config, toy.splits()))
    expected = load_file(path)
    assert all(torch.equal(value, expected[key]) for key, value in model.backbone.state_dict().items())
    with pytest.raises(InputError, match="init fills the backbone too: leave out pretrained_backbone"):
        settings(pretrained_backbone=True, init="runs/first")


@pytest.mark.parametrize("sam_rho", [0.0, 0.05])
def test_a_frozen_backbone_ends_as_it_started(tmp_path: Path, sam_rho: float) -> None:
    path = weights(tmp_path)
    config = settings(**start_from(path), freeze_backbone=True, sam_rho=sam_rho, output=str(tmp_path / "run"))
    result = train(config, toy.splits())
    model, expected = qcs.load_model(result.folder / "last.safetensors"), load_file(path)
    assert all(torch.equal(value, expected[key]) for key, value in model.backbone.state_dict().items())
    start, _ = build_model(config, sources(config, toy.splits()))
    assert not torch.equal(model.base.head.weight, start.base.head.weight)


def test_learning_rates_fall_by_layer_and_the_schedule_holds_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[list[float]] = []
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
        groups.append(sorted({group["lr"] for group in copy.copy(self.param_groups)}))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    result = train(settings(layer_decay=0.5, lr=1e-3, epochs=2, output=str(tmp_path / "run")), toy.splits())
    for rates, epoch_rate in ((groups[0], 1e-3), (groups[-1], 0.98e-3)):
        assert rates[-1] == pytest.approx(epoch_rate)
        assert rates == pytest.approx([epoch_rate * 0.5**power for power in reversed(range(len(rates)))])
    assert len(groups[0]) > 4
    assert [record["learning_rate"] for record in result.history] == pytest.approx([1e-3, 0.98e-3])


def test_without_layer_decay_there_is_one_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    original = torch.optim.AdamW.__init__

    def start(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        counts.append(len(self.param_groups))

    monkeypatch.setattr(torch.optim.AdamW, "__init__", start)
    train(settings(output=str(tmp_path / "run")), toy.splits())
    assert counts == [1]


def test_a_recipe_s_resize_fits_its_own_networks_only() -> None:
    assert TrainConfig.from_recipe("scratch", data="x", model="dcs_nano").resize == 52
    assert TrainConfig.from_recipe("scratch", data="x", model="qcs_any").resize is None
    assert TrainConfig.from_recipe("scratch", data="x", model="poster_ir50_small").resize is None
    assert TrainConfig.from_recipe("scratch", data="x", model="qcs_any", backbone="resnet18", resize=240).resize == 240


@pytest.mark.parametrize("value", [0.0, 1.1])
def test_layer_decay_has_a_range(value: float) -> None:
    with pytest.raises(InputError, match=f"layer_decay must be above 0 and at most 1, got {value}"):
        settings(layer_decay=value)


def test_weights_that_are_not_there_leave_no_folder(tmp_path: Path) -> None:
    config = settings(**start_from(tmp_path / "absent.safetensors"), output=str(tmp_path / "run"))
    with pytest.raises(InputError, match="cannot load timm's weights of test_resnet"):
        train(config, toy.splits())
    assert not (tmp_path / "run").exists()
