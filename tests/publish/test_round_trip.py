"""A network goes to the Hub and comes back as it was, with huggingface_hub's own client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import local_hub
import pytest
import timm
import torch
import toy
from safetensors.torch import load_file

import qcs
from qcs.engine.training import train
from qcs.models import save_model
from qcs.publish import push

Hub = local_hub.LocalHub


def network(name: str, **options: Any) -> Any:
    """A network with weights of its own, running statistics included."""
    model: Any = qcs.create_model(name, **options)
    with torch.no_grad():
        model(torch.randn(4, *model.pretrained_cfg["input_size"]))
    return model.eval()


def faces(model: Any) -> torch.Tensor:
    return torch.randn(2, *model.pretrained_cfg["input_size"], generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["qcs_nano", pytest.param("qcs_ir50.affectnet8", marks=pytest.mark.slow)])
def test_network_comes_back_with_equal_logits(hub: Hub, tmp_path: Path, name: str) -> None:
    model = network(name)
    address = push(save_model(model, tmp_path / "weights.safetensors"), "me/faces")
    assert address == f"{hub.url}/me/faces/commit/{hub.repositories['me/faces'].branches['main']}"
    images = faces(model)
    with torch.inference_mode():
        expected = model(images)
        for again in (
            qcs.create_model("hf-hub:me/faces", pretrained=True),
            timm.create_model("hf-hub:me/faces", pretrained=True),
            qcs.load_model("hf-hub:me/faces"),
        ):
            assert torch.equal(again.eval()(images), expected)
            assert again.resolved_args == model.resolved_args
            assert again.class_names == model.class_names
            preparation = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
            assert {k: again.pretrained_cfg[k] for k in preparation} == {
                k: model.pretrained_cfg[k] for k in preparation
            }


def test_architecture_without_weights_comes_from_the_configuration_alone(hub: Hub, tmp_path: Path) -> None:
    push(save_model(network("dcs_nano", num_classes=3, in_chans=1), tmp_path / "weights.safetensors"), "me/faces")
    hub.requests.clear()
    model: Any = qcs.create_model("hf-hub:me/faces")
    assert (model.branches, model.num_classes, model.model_args["in_chans"]) == (2, 3, 1)
    assert not any("model.safetensors" in request for request in hub.requests)


def test_other_classes_and_channels_keep_everything_else(hub: Hub, tmp_path: Path) -> None:
    model = network("qcs_nano")
    push(save_model(model, tmp_path / "weights.safetensors"), "me/faces")
    other: Any = qcs.create_model("hf-hub:me/faces", pretrained=True, num_classes=5, in_chans=1)
    assert other.num_classes == other.base.head.out_features == 5
    assert other.pretrained_cfg["num_classes"] == 5
    assert other.model_args["in_chans"] == 1
    replaced = {key for key, value in model.state_dict().items() if not torch.equal(value, other.state_dict()[key])}
    heads = {f"{head}.{kind}" for head in ("base.head", "distillation.classifier.head") for kind in ("weight", "bias")}
    assert replaced == {*heads, "backbone.model.stem.conv.weight"}


def test_base_network_takes_a_full_one_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    model = network("qcs_nano")
    push(save_model(model, tmp_path / "weights.safetensors"), "me/faces")
    base = timm.create_model("base_nano", pretrained=True, pretrained_cfg_overlay={"hf_hub_id": "me/faces"}).eval()
    assert torch.equal(base(faces(model)), model(faces(model)))
    assert base.pretrained_cfg["hf_hub_id"] == "me/faces"
    assert not {"file", "state_dict"} & base.pretrained_cfg.keys()


def test_revision_is_kept_to(hub: Hub, tmp_path: Path) -> None:
    first, second = network("base_nano"), network("base_nano")
    push(save_model(first, tmp_path / "first.safetensors"), "me/faces")
    commit = hub.repositories["me/faces"].branches["main"]
    push(save_model(second, tmp_path / "second.safetensors"), "me/faces", revision="next")
    images = faces(first)
    for revision, model in (("main", first), (commit, first), ("next", second)):
        assert torch.equal(qcs.load_model(f"hf-hub:me/faces@{revision}")(images), model(images))


def test_pushing_again_uploads_only_what_changed(hub: Hub, tmp_path: Path) -> None:
    path = save_model(network("base_nano"), tmp_path / "weights.safetensors")
    push(path, "me/faces")
    hub.requests.clear()
    push(path, "me/faces", license="mit")
    assert not any(request.startswith("PUT") for request in hub.requests)
    config = json.loads(
        hub.repositories["me/faces"].commits[hub.repositories["me/faces"].branches["main"]]["config.json"]
    )
    assert config["pretrained_cfg"]["license"] == "mit"


def test_private_repository_opens_for_its_token_alone(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(save_model(network("base_nano"), tmp_path / "weights.safetensors"), "me/faces", private=True)
    assert hub.repositories["me/faces"].private
    assert qcs.load_model("hf-hub:me/faces").num_classes == 7
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ValueError, match=r"no such repository, or it is private and no token is set"):
        qcs.create_model("hf-hub:me/faces@main", pretrained=True, cache_dir=tmp_path / "empty")


def test_golden_logits_prove_what_was_downloaded(hub: Hub, tmp_path: Path, cache: Path) -> None:
    from qcs.publish.repository import check_repository

    push(save_model(network("base_nano"), tmp_path / "weights.safetensors"), "me/faces")
    files = hub.repositories["me/faces"].commits[hub.repositories["me/faces"].branches["main"]]
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert check_repository(tmp_path) == 0
    assert load_file(tmp_path / "golden.safetensors")["logits"].shape == (2, 7)


@pytest.mark.slow
def test_command_line_publishes_a_run_and_predicts_from_it_in_fresh_processes(tmp_path: Path) -> None:
    train(toy.settings(output=str(tmp_path / "run"), epochs=1), toy.splits())
    photo = toy.photos(tmp_path / "photos", 1)[0]
    with local_hub.running_hub() as hub:
        place = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": local_hub.TOKEN}
        environment = {**os.environ, **place, "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}

        def qcs_command(*arguments: str) -> str:
            done = subprocess.run(
                [sys.executable, "-m", "qcs", *arguments], capture_output=True, text=True, env=environment, timeout=300
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        assert "published http" in qcs_command("push", str(tmp_path / "run"), "me/faces")
        from_hub = qcs_command("predict", "hf-hub:me/faces", str(photo))
        environment["HF_HUB_OFFLINE"] = "1"
        assert qcs_command("predict", "hf-hub:me/faces", str(photo)) == from_hub
        assert from_hub == qcs_command("predict", str(tmp_path / "run"), str(photo))
