"""The network of a run: whose class order it takes, what it starts from, and how its images are cropped."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import toy

import qcs
from qcs.data import CLASSES, LabeledImages
from qcs.engine.training.build import build_model
from qcs.engine.training.data import Sources, sources
from qcs.errors import InputError
from qcs.models import save_model


def built(config: Any, classes: tuple[str, ...] = toy.CLASSES) -> tuple[Any, Sources]:
    images, labels = toy.squares(42)
    named = LabeledImages(images, labels % len(classes), classes)
    return build_model(config, sources(config, {"train": named}))


def saved(folder: Path, model: str, classes: tuple[str, ...]) -> Path:
    torch.manual_seed(5)
    network: Any = qcs.create_model(model, num_classes=len(classes))
    network.name_classes(classes)
    return save_model(network, folder / "weights.safetensors")


def test_a_name_that_fixes_no_classes_takes_those_of_the_data() -> None:
    network, data = built(toy.settings(), ("sad", "boredom"))
    assert (network.num_classes, network.class_names) == (2, ("sad", "boredom"))
    assert data.train.classes == ("sad", "boredom")


@pytest.mark.slow
def test_a_name_that_fixes_classes_keeps_its_order_and_the_data_follows_by_name() -> None:
    alphabetical = tuple(sorted(CLASSES["raf_db"]))
    network, data = built(toy.settings(model="base_ir50.raf_db"), alphabetical)
    assert network.class_names == data.train.classes == data.validation.classes == CLASSES["raf_db"]
    number = int(data.train.names[0])  # of the picture, given in alphabetical order
    assert data.train.classes[data.train.labels[0]] == alphabetical[number % 3]
    network, data = built(toy.settings(model="base_ir50.raf_db"))
    assert network.class_names == data.train.classes == toy.CLASSES


def test_weights_of_the_same_classes_keep_their_heads_and_their_order(tmp_path: Path) -> None:
    path = saved(tmp_path, "qcs_nano", ("anger", "happy", "sad"))
    network, data = built(toy.settings(model="qcs_nano", init=str(path)))
    assert network.class_names == data.train.classes == ("anger", "happy", "sad")
    expected = qcs.load_model(path).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())


def test_weights_of_other_classes_start_with_fresh_heads(tmp_path: Path) -> None:
    path = saved(tmp_path, "qcs_nano", ("anger", "happy", "sad", "fear"))
    network, data = built(toy.settings(model="qcs_nano", init=str(path)))
    assert network.class_names == data.train.classes == toy.CLASSES
    before, after = qcs.load_model(path).state_dict(), network.state_dict()
    changed = {key for key in after if not torch.equal(after[key], before[key])}  # also where shapes differ
    heads = ("base.head", "distillation.classifier.head")
    assert changed == {f"{head}.{part}" for head in heads for part in ("weight", "bias")}
    assert len(after["base.head.weight"]) == 3


def test_weights_without_names_keep_their_heads_where_the_model_s_name_fixes_the_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = qcs.create_model

    def named(*arguments: Any, **options: Any) -> Any:
        network: Any = original(*arguments, **options)
        network.name_classes(("anger", "happy", "sad"))
        return network

    monkeypatch.setattr("qcs.engine.training.build.create_model", named)
    state = original("base_nano", num_classes=3).state_dict()
    torch.save(state, tmp_path / "weights.pt")
    network, data = built(toy.settings(init=str(tmp_path / "weights.pt")))
    assert network.class_names == data.train.classes == ("anger", "happy", "sad")
    assert torch.equal(network.state_dict()["base.head.weight"], state["base.head.weight"])


def test_fresh_heads_are_in_the_order_that_the_model_s_name_fixes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "qcs.engine.training.build.get_pretrained_cfg_value", lambda name, key: ("anger", "happy", "sad")
    )
    path = saved(tmp_path, "base_nano", ("anger", "happy", "sad", "fear"))
    network, data = built(toy.settings(init=str(path)))
    assert network.class_names == data.train.classes == ("anger", "happy", "sad")


def test_a_base_network_starts_from_a_run_of_the_whole_one(tmp_path: Path) -> None:
    saved(tmp_path, "qcs_nano", toy.CLASSES).rename(tmp_path / "best.safetensors")
    network, _ = built(toy.settings(init=str(tmp_path)))
    expected = qcs.load_model(tmp_path / "best.safetensors").state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())


def test_a_trained_base_network_goes_on_with_comparing_and_says_so(tmp_path: Path) -> None:
    path = saved(tmp_path, "base_nano", toy.CLASSES)
    expected = qcs.load_model(path).state_dict()
    with pytest.warns(UserWarning, match=rf"holds a base network: {len(expected)} of {len(expected)} entries matched"):
        network, _ = built(toy.settings(init=str(path), model="qcs_nano"))
    own = network.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in expected.items())
    assert len(own) > len(expected)


@pytest.mark.parametrize(("first", "then"), [("base_nano", "qcs_nano"), ("qcs_nano", "base_nano")])
def test_arguments_of_a_cross_part_that_one_of_two_networks_lacks_are_not_warned_of(
    tmp_path: Path, first: str, then: str
) -> None:
    path = saved(tmp_path, first, toy.CLASSES)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        built(toy.settings(init=str(path), model=then, model_args=dict(cross_drop_rate=0.1, base_drop_rate=0.2)))
    (warned,) = [str(warning.message) for warning in caught if "other arguments" in str(warning.message)]
    assert warned.endswith("this run has base_drop_rate=0.2 instead of 0.0")


def test_a_backbone_alone_starts_a_network_that_is_otherwise_fresh_and_says_so(tmp_path: Path) -> None:
    state = qcs.create_model("qcs_nano").state_dict()
    backbone = {key: value for key, value in state.items() if key.startswith("backbone.")}
    torch.save(backbone, tmp_path / "ir.pth")
    with pytest.warns(UserWarning, match=rf"ir.pth holds a backbone alone: {len(backbone)} of {len(backbone)} entries"):
        network, _ = built(toy.settings(init=str(tmp_path / "ir.pth")))
    own = network.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in backbone.items())
    assert not torch.equal(own["base.head.weight"][:3], state["base.head.weight"][:3])
    assert network.class_names == toy.CLASSES


def test_images_are_cropped_in_use_as_in_training() -> None:
    assert built(toy.settings(resize=60))[0].pretrained_cfg["crop_pct"] == 0.8
    assert built(toy.settings())[0].pretrained_cfg["crop_pct"] == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "qcs_nan"}, "unknown model 'qcs_nan'; did you mean qcs_nano"),
        ({"model": "ir_nano"}, "ir_nano classifies no expressions; train one of the networks"),
        ({"model_args": {"scopes": 1}}, "base_nano: .*unexpected keyword argument 'scopes'"),
        ({"model": "qcs_nano", "model_args": {"scope": "image"}}, "scope.*'image'"),
        ({"model_args": {"embed_dim": "wide"}}, "cannot build base_nano with embed_dim='wide': "),
        ({"model_args": {"num_classes": 5}}, "cannot build base_nano with num_classes=5: .*multiple values"),
        ({"model_args": {"backbone": "resnet"}}, "unknown backbone 'resnet'; did you mean "),
        ({"backbone": "resnet"}, "unknown backbone 'resnet'; did you mean "),
        ({"init": "gone.safetensors"}, "no weights found for 'gone.safetensors'"),
    ],
)
def test_what_cannot_be_built_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        built(toy.settings(**changes))


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt holds no base classifier: expected the weights of a base, dcs"):
        built(toy.settings(init=str(tmp_path / "other.pt")))
    dual = saved(tmp_path, "dcs_nano", toy.CLASSES)
    with pytest.raises(InputError, match=r"weights\.safetensors does not fit qcs_nano: \d+ missing"):
        built(toy.settings(model="qcs_nano", init=str(dual)))
