"""Weights files: whole or absent, and enough to rebuild the network that was saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import qcs
import qcs.models.weights as weights_module
from qcs.errors import InputError
from qcs.models import CrossSimilarityNetwork, load_model, save_model
from qcs.models.weights import NESTED, WEIGHT_SOURCES, read_class_names, read_config

FACES = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


def build(name: str = "qcs_nano", **options: Any) -> CrossSimilarityNetwork:
    model = qcs.create_model(name, **options)
    assert isinstance(model, CrossSimilarityNetwork)
    return model


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("base_nano", {}),
        ("dcs_nano", {"residual": "identity", "connection": "gap"}),
        ("dcs_nano", {"attention": "sdpa"}),
        ("qcs_nano", {"scope": "sample", "matrices": "s"}),
        ("qcs_nano", {"in_chans": 1, "num_classes": 3, "cross_drop_rate": 0.2}),
    ],
    ids=str,
)
@pytest.mark.parametrize("inference", [False, True], ids=["as trained", "at inference"])
def test_network_comes_back_as_it_was_saved(
    tmp_path: Path, name: str, options: dict[str, Any], inference: bool
) -> None:
    model = build(name, **options).eval()
    if inference:
        model = model.inference_model()
    x = FACES[:, : model.model_args["in_chans"]]
    again = load_model(save_model(model, tmp_path / "model.safetensors"))
    assert not again.training
    assert again.resolved_args == model.resolved_args
    assert again.pretrained_cfg == model.pretrained_cfg
    assert torch.equal(again(x), model(x))
    if model.branches > 1:
        images = [x + b for b in range(model.branches)]
        assert torch.equal(again(*images).cross, model(*images).cross)


def test_class_names_preprocessing_and_info_travel_along(tmp_path: Path) -> None:
    model = build(num_classes=3)
    model.name_classes(["calm", "glad", "sad"])
    model.pretrained_cfg["mean"] = (0.1, 0.2, 0.3)
    path = save_model(model, tmp_path / "new" / "model.safetensors", info={"epoch": 5, "accuracy": 0.5})
    again = load_model(path)
    assert again.class_names == read_class_names(path) == ("calm", "glad", "sad")
    assert again.pretrained_cfg["mean"] == (0.1, 0.2, 0.3)
    assert read_config(path)["info"] == {"epoch": 5, "accuracy": 0.5}
    assert read_config(path)["architecture"] == "qcs_nano"


def test_reset_classifier_is_saved(tmp_path: Path) -> None:
    model = build()
    model.reset_classifier(4)
    assert load_model(save_model(model, tmp_path / "model.safetensors")).num_classes == 4


def test_file_is_plain_safetensors_that_any_model_can_load(tmp_path: Path) -> None:
    model, other = build(), build()
    path = save_model(model, tmp_path / "model.safetensors")
    qcs.load_checkpoint(other, path)
    assert torch.equal(other.base.head.weight, model.base.head.weight)
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == set(model.state_dict())


def test_file_cannot_have_other_weights_loaded(tmp_path: Path) -> None:
    model = build()
    model.pretrained_cfg |= {"url": "https://example.org/other.pth", "hf_hub_id": "other/weights", "custom_load": True}
    again = load_model(save_model(model, tmp_path / "model.safetensors"))
    assert not any(again.pretrained_cfg.get(source) for source in WEIGHT_SOURCES)


def test_file_can_be_read_by_whom_any_new_file_can(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    path = save_model(build(), tmp_path / "model.safetensors")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_saving_replaces_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    save_model(build(num_classes=3), tmp_path / "model.safetensors")
    save_model(build(num_classes=4), tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").num_classes == 4
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    "error",
    [SafetensorError("No space left on device"), OSError("Read-only file system"), RuntimeError("interrupted")],
    ids=lambda error: type(error).__name__,
)
def test_failing_to_save_keeps_the_old_file_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path = save_model(build(), tmp_path / "model.safetensors")
    before = path.read_bytes()

    def fail(tensors: object, temporary: Path, metadata: object) -> None:
        Path(temporary).write_bytes(b"half a file")
        raise error

    monkeypatch.setattr(weights_module, "save_file", fail)
    expected = OSError if isinstance(error, SafetensorError) else type(error)
    with pytest.raises(expected, match=str(error)):
        save_model(build(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_failing_to_write_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        save_model(build(), tmp_path / "model.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_network_that_was_not_created_by_name_is_refused(tmp_path: Path) -> None:
    model = CrossSimilarityNetwork(backbone="ir_nano", img_size=48, grid_size=6, embed_dim=8, num_heads=2)
    with pytest.raises(InputError, match="create_model"):
        save_model(model, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def cut(path: Path) -> None:
    save_model(build(), path)
    path.write_bytes(path.read_bytes()[:-10])


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no weights found for"),
    "folder": (lambda path: path.mkdir(), "is not a run folder with weights"),
    "empty": (lambda path: path.write_bytes(b""), "is not a safetensors file"),
    "text": (lambda path: path.write_text("these are no weights"), "is not a safetensors file"),
    "cut": (cut, "is not a safetensors file"),
    "pickle": (lambda path: torch.save({"weight": torch.zeros(2)}, path), "is not a safetensors file"),
    "no metadata": (
        lambda path: save_file({"weight": torch.zeros(2)}, path),
        r"does not say which network it is for; load it with qcs.load_checkpoint\(model, path\)",
    ),
    "unknown network": (
        lambda path: save_file(
            {"weight": torch.zeros(2)},
            path,
            metadata={"qcs": json.dumps({"architecture": "qcs_giga", **{key: {} for key in NESTED}})},
        ),
        "is of 'qcs_giga', which is no network of this version",
    ),
    **{
        f"metadata {text}": (
            lambda path, text=text: save_file({"weight": torch.zeros(2)}, path, metadata={"qcs": text}),
            "has corrupt metadata",
        )
        for text in ("{", "[]", "{}", '{"architecture": "qcs_nano", "model_args": 3}')
    },
}


@pytest.mark.parametrize(("write", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_files_that_hold_no_network_are_refused(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "model.safetensors"
    write(path)
    with pytest.raises(InputError, match=message):
        load_model(path)
    assert read_class_names(path) is None


def test_file_without_class_names_states_none(tmp_path: Path) -> None:
    assert read_class_names(save_model(build(), tmp_path / "model.safetensors")) is None


def restated(path: Path, **changes: Any) -> Path:
    """A weights file that says other things of itself."""
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        config = json.loads(file.metadata()["qcs"])
    save_file(tensors, path, metadata={"qcs": json.dumps({**config, **changes})})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "hf-hub:someone/else"}, "is of 'hf-hub:someone/else', which is no network of this version"),
        ({"architecture": 5}, "is of 5, which is no network of this version"),
        (
            {"model_args": {"pretrained_backbone": True}},
            "that this version does not know: pretrained_backbone",
        ),
        (
            {"model_args": {"backbone_args": {"pretrained_cfg_overlay": {"file": "/etc/passwd"}}}},
            "names other weights in its backbone_args, which is refused",
        ),
        ({"model_args": {"embed_dim": "x"}}, "states embed_dim 'x'; expected an integer from 1 to 8,192"),
    ],
)
def test_a_file_cannot_have_anything_but_itself_loaded(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = restated(save_model(qcs.create_model("base_nano"), tmp_path / "model.safetensors"), **changes)
    with pytest.raises(InputError, match=message):
        load_model(path)


def test_the_name_a_file_states_is_that_of_its_network(tmp_path: Path) -> None:
    path = save_model(qcs.create_model("base_nano"), tmp_path / "model.safetensors")
    with safe_open(path, "pt") as file:
        cfg = json.loads(file.metadata()["qcs"])["pretrained_cfg"]
    model = load_model(restated(path, pretrained_cfg={**cfg, "architecture": "../../elsewhere/x"}))
    assert model.pretrained_cfg["architecture"] == "base_nano"
