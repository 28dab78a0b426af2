"""Where `pretrained=True` finds weights, in which order, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

import qcs
from qcs.errors import InputError
from qcs.models import _builder, save_model, weights

FACES = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


def trained(name: str = "qcs_nano", **options: Any) -> Any:
    """A network with running statistics of its own."""
    model = qcs.create_model(name, **options)
    model(FACES)
    return model.eval()


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the weights that the package ships."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(weights, "EMBEDDED", folder)
    return folder


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_embedded_weights_load_by_name(embedded: Path, half: bool) -> None:
    model = trained()
    save_model(model.half() if half else model, embedded / "qcs_nano.untrained.safetensors")
    for again in (qcs.create_model("qcs_nano", pretrained=True), timm.create_model("qcs_nano", pretrained=True)):
        assert torch.equal(again.eval()(FACES), model.float()(FACES))
        assert not {"file", "state_dict", "hf_hub_id"} & again.pretrained_cfg.keys()
        assert again.pretrained_cfg == qcs.create_model("qcs_nano").pretrained_cfg


def test_no_network_is_needed_for_embedded_weights(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(trained("base_nano"), embedded / "base_nano.untrained.safetensors")
    monkeypatch.setattr(_builder, "fetch_weights", lambda *_: pytest.fail("asked the Hub"))
    qcs.create_model("base_nano", pretrained=True)


def test_what_the_caller_names_goes_before_what_is_embedded(embedded: Path, tmp_path: Path) -> None:
    save_model(trained(), embedded / "qcs_nano.untrained.safetensors")
    named = trained()
    path = save_model(named, tmp_path / "named.safetensors")
    asked: list[str] = []

    def fetch(hub_id: str, filename: str, cache_dir: object) -> Path:
        asked.append(f"{hub_id} {filename}")
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_builder, "fetch_weights", fetch)
        for options in (
            {"checkpoint_path": path},
            {"pretrained_cfg_overlay": {"file": str(path)}},
            {"pretrained_cfg_overlay": {"hf_hub_id": "me/faces@v1"}},
        ):
            model = qcs.create_model("qcs_nano", pretrained=True, **options)
            assert torch.equal(model.eval()(FACES), named(FACES))
    assert asked == ["me/faces@v1 model.safetensors"]


def test_checkpoint_path_makes_weights_of_the_name_unnecessary(tmp_path: Path) -> None:
    path = save_model(trained(), tmp_path / "named.safetensors")
    qcs.create_model("qcs_nano", pretrained=True, checkpoint_path=path)


def test_other_classes_get_fresh_heads_and_other_channels_an_adapted_convolution(embedded: Path) -> None:
    model = trained()
    save_model(model, embedded / "qcs_nano.untrained.safetensors")
    other: Any = qcs.create_model("qcs_nano", pretrained=True, num_classes=3, in_chans=1)
    changed = {key for key, value in other.state_dict().items() if not torch.equal(value, model.state_dict()[key])}
    assert {key.rpartition(".")[0] for key in changed} == {
        "base.head", "distillation.classifier.head", "backbone.model.stem.conv",
    }  # fmt: skip
    summed = model.backbone.model.stem.conv.weight.sum(1, keepdim=True)
    assert torch.allclose(other.backbone.model.stem.conv.weight, summed)


@pytest.mark.parametrize("connection", ["vit", "none", "gap", "bilinear"])
def test_fresh_heads_cover_every_connection(embedded: Path, connection: str) -> None:
    model = trained(connection=connection)
    save_model(model, embedded / "qcs_nano.untrained.safetensors")
    same = qcs.create_model("qcs_nano", pretrained=True, connection=connection).eval()
    other: Any = qcs.create_model("qcs_nano", pretrained=True, connection=connection, num_classes=3)
    assert torch.equal(same(FACES), model(FACES))
    assert other(*[FACES] * 4).cross.shape == (4, 2, 3)


def test_base_network_takes_the_file_of_a_full_one(tmp_path: Path) -> None:
    model = trained()
    path = save_model(model, tmp_path / "full.safetensors")
    base = timm.create_model("base_nano", pretrained=True, pretrained_cfg_overlay={"file": str(path)}).eval()
    assert torch.equal(base(FACES), model(FACES))


@pytest.mark.parametrize("whole", [False, True], ids=["backbone alone", "inside a network"])
def test_backbone_takes_its_weights_and_gives_features(tmp_path: Path, whole: bool) -> None:
    network = trained()
    backbone = network.backbone.model.state_dict()
    path = tmp_path / "backbone.safetensors"
    save_file(network.state_dict() if whole else backbone, path)
    overlay = {"file": str(path), "num_classes": 0}
    maps: Any = timm.create_model("ir_nano", pretrained=True, features_only=True, pretrained_cfg_overlay=overlay)
    for got, expected in zip(maps.eval()(FACES), network.backbone(FACES), strict=True):
        assert torch.equal(got, expected)
    fresh_head: Any = timm.create_model("ir_nano", pretrained=True, num_classes=4, pretrained_cfg_overlay=overlay)
    assert torch.equal(fresh_head.stem.conv.weight, backbone["stem.conv.weight"])
    assert fresh_head.head.fc.out_features == 4


def test_backbone_with_a_head_keeps_it(tmp_path: Path) -> None:
    model: Any = timm.create_model("ir_nano", num_classes=7)
    path = tmp_path / "classifier.safetensors"
    save_file(model.state_dict(), path)
    again: Any = timm.create_model("ir_nano", pretrained=True, pretrained_cfg_overlay={"file": str(path)})
    assert torch.equal(again.head.fc.weight, model.head.fc.weight)


@pytest.mark.parametrize("name", ["qcs_nano", "ir_nano", "qcs_ir50.raf_db", "base_ir50"])
def test_without_weights_the_error_says_what_is_missing_and_what_to_do(name: str, embedded: Path) -> None:
    with torch.device("meta"), pytest.raises(InputError) as caught:
        qcs.create_model(name, pretrained=True)
    message = str(caught.value)
    assert re.match(rf"no weights for ({name}[\w.]*): the package has no \1\.safetensors", message)
    assert "'qcs train --model qcs_nano" in message if name == "qcs_nano" else "'qcs convert " in message


def write(path: Path, model: nn.Module, change: str) -> None:
    state = dict(model.state_dict())
    if change == "missing":
        del state["base.norm.weight"]
    elif change == "unexpected":
        state["more.weight"] = torch.zeros(2)
    elif change == "shape":
        state["base.norm.weight"] = torch.zeros(2)
    save_file(state, path)
    if change == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif change == "empty":
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"does not fit base_nano: 1 missing: base\.norm\.weight"),
        ("unexpected", r"does not fit base_nano: 1 unexpected: more\.weight"),
        ("shape", r"does not fit base_nano: 1 of another shape: base\.norm\.weight"),
        ("cut", "is not a complete safetensors file"),
        ("empty", "is not a complete safetensors file"),
    ],
)
@pytest.mark.parametrize("num_classes", [7, 3])
def test_files_that_do_not_fit_are_refused(embedded: Path, change: str, message: str, num_classes: int) -> None:
    path = embedded / "base_nano.untrained.safetensors"
    write(path, trained("base_nano"), change)
    with pytest.raises(InputError, match=message) as caught:
        qcs.create_model("base_nano", pretrained=True, num_classes=num_classes)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 5}, "holds weights for 5 classes, the configuration of base_nano says 7"),
        ({"in_chans": 1}, "takes images of 1 channels, its configuration says 3"),
    ],
    ids=str,
)
def test_weights_of_another_configuration_are_refused(embedded: Path, options: dict[str, int], message: str) -> None:
    model = qcs.create_model("base_nano", **options)
    save_file(model.state_dict(), embedded / "base_nano.untrained.safetensors")
    with pytest.raises(InputError, match=message):
        qcs.create_model("base_nano", pretrained=True)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(trained("base_nano").state_dict(), path)
    with pytest.raises(
        InputError, match=r"must be a \.safetensors file, got .*weights\.pth; load it with checkpoint_path"
    ):
        timm.create_model("base_nano", pretrained=True, pretrained_cfg_overlay={"file": str(path)})
