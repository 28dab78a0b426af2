"""What initial weights imply of a training: the network, its channels and arguments, the resize and the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import toy

import qcs
from qcs.engine.training import RECIPES, TrainConfig, recipe, train
from qcs.engine.training.initial import implied_settings
from qcs.models import save_model


def saved(folder: Path, name: str, **arguments: Any) -> str:
    network: Any = qcs.create_model(name, num_classes=3, **arguments)
    network.name_classes(toy.CLASSES)
    network.pretrained_cfg["crop_pct"] = 48 / 60
    return str(save_model(network, folder / f"{name}.safetensors"))


def test_the_network_the_channels_the_arguments_and_the_resize_are_those_of_the_weights(tmp_path: Path) -> None:
    init = saved(tmp_path, "dcs_nano", in_chans=1, scope="sample", base_drop_rate=0.3)
    config = TrainConfig.from_recipe(data="x", init=init)
    assert (config.model, config.in_chans, config.resize) == ("dcs_nano", 1, 60)
    assert config.model_args == {"scope": "sample", "base_drop_rate": 0.3}


def test_what_is_given_goes_before_what_the_weights_imply(tmp_path: Path) -> None:
    init = saved(tmp_path, "base_nano", in_chans=1, base_drop_rate=0.3)
    config = TrainConfig.from_recipe(data="x", init=init, model="qcs_nano", resize=50)
    assert (config.model, config.in_chans, config.resize, config.model_args) == ("qcs_nano", 1, 50, {})
    config = TrainConfig.from_recipe(data="x", init=init, model_args={"base_drop_rate": 0.1}, in_chans=3)
    assert (config.model, config.in_chans, config.model_args) == ("base_nano", 3, {"base_drop_rate": 0.1})
    config = TrainConfig.from_recipe("qcs-raf_db-finetune", data="x", init=init, in_chans=3)
    assert (config.model, config.resize) == ("qcs_ir50.raf_db", None)


def test_a_recipe_is_chosen_by_whether_there_are_initial_weights() -> None:
    tuned = TrainConfig.from_recipe(data="x", init="qcs_small")
    assert tuned == TrainConfig.from_recipe("finetune", data="x", init="qcs_small")
    assert TrainConfig.from_recipe(data="x") == TrainConfig.from_recipe("scratch", data="x")
    assert recipe("finetune")["lr"] < recipe("scratch")["lr"]
    assert recipe("finetune")["epochs"] < recipe("scratch")["epochs"]
    assert recipe("finetune")["sam_rho"] == 0
    assert not {"model", "in_chans", "resize"} & RECIPES["finetune"].keys()  # those of the weights


def test_the_shipped_weights_imply_their_network_and_a_tag_only_where_the_name_alone_means_another(
    tmp_path: Path,
) -> None:
    assert implied_settings("qcs_small") == {"model": "qcs_small", "model_args": {}, "in_chans": 1, "resize": 54}
    with torch.device("meta"):
        network: Any = qcs.create_model("base_ir50.affectnet8")
    network = network.to_empty(device="cpu")
    path = save_model(network, tmp_path / "tagged.safetensors")
    implied = implied_settings(str(path))
    assert (implied["model"], implied["model_args"]) == ("base_ir50.affectnet8", {})


def test_weights_around_any_backbone_bring_their_backbone(tmp_path: Path) -> None:
    init = saved(tmp_path, "base_any", backbone="mobilenetv3_small_050", img_size=64)
    config = TrainConfig.from_recipe(data="x", init=init)
    assert config.model == "base_any"
    assert config.model_args["backbone"] == "mobilenetv3_small_050"


def test_weights_without_metadata_imply_nothing(tmp_path: Path) -> None:
    torch.save(qcs.create_model("qcs_nano").state_dict(), tmp_path / "weights.pt")
    config = TrainConfig.from_recipe(data="x", init=str(tmp_path / "weights.pt"))
    assert (config.model, config.in_chans, config.model_args) == ("qcs_nano", 3, {})


@pytest.mark.slow
def test_a_run_from_weights_alone_has_their_network_and_preprocessing(tmp_path: Path) -> None:
    init = saved(tmp_path, "dcs_nano", in_chans=1, scope="sample")
    settings = dict(data="squares", epochs=1, batch_size=6, fraction=1.0)
    train(TrainConfig.from_recipe(init=init, output=str(tmp_path / "run"), **settings), toy.splits())
    model = qcs.load_model(tmp_path / "run")
    assert (model.pretrained_cfg["architecture"], model.model_args["scope"]) == ("dcs_nano", "sample")
    assert model.pretrained_cfg["input_size"] == (1, 48, 48)
    assert model.pretrained_cfg["crop_pct"] == 48 / 60
