"""Loading weights: both layouts, every wrapping, strictly, and without running what a file carries."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import qcs
from qcs.errors import InputError
from qcs.models.checkpoint import num_classes_in
from qcs.models.original import from_original, is_original

SCHEMAS = json.loads((Path(__file__).parents[1] / "golden" / "schemas.json").read_text())
State = dict[str, Tensor]


def network(schema: str) -> str:
    """Our name of an original network: dcs_raf_db is dcs_ir50.raf_db."""
    return schema.replace("_", "_ir50.", 1)


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return qcs.create_model(name)


def original(schema: str) -> State:
    return {key: torch.empty(shape, device="meta") for key, shape in SCHEMAS[schema].items()}


def same(model: nn.Module, state: State) -> bool:
    return all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.fixture
def state() -> State:
    """Weights of a trained qcs_nano."""
    return qcs.create_model("qcs_nano").state_dict()


# ---------------------------------------------------------------------------------------------- the original's layout


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_original_layout_fits_its_network(schema: str) -> None:
    model, ours = on_meta(network(schema)), from_original(original(schema))
    shapes = {key: value.shape for key, value in ours.items()}
    assert shapes == {key: value.shape for key, value in model.state_dict().items()}
    qcs.load_checkpoint(model, original(schema))


@pytest.mark.parametrize("schema", SCHEMAS)
def test_only_dead_entries_are_left_out(schema: str) -> None:
    dropped = len(SCHEMAS[schema]) - len(from_original(original(schema)))
    dead = [
        key
        for key in SCHEMAS[schema]
        if any(
            part in key
            for part in (".output_layer.", ".patch_embed.", ".eca_block.", ".CON1.", ".IRLinear", "fusion.classifier.")
        )
        or (".blocks." in key and ".conv." in key)
    ]
    assert dropped == len(dead) > 0


def test_original_entries_keep_their_place() -> None:
    names = {
        "ir_back.input_layer.2.weight": "backbone.model.stem.act.weight",
        "ir_back.body1.0.res_layer.3.weight": "backbone.model.stages.0.0.conv2.weight",
        "ir_back.body3.13.res_layer.4.running_var": "backbone.model.stages.2.13.norm2.running_var",
        "ir_back.body2.0.shortcut_layer.1.bias": "backbone.model.stages.1.0.shortcut.norm.bias",
        "conv3.bias": "tokens.reduce.2.bias",
        "embed_q.1.weight": "tokens.embed.0.1.weight",
        "embed_k.0.weight": "tokens.embed.1.0.weight",
        "embed_v.proj.weight": "tokens.embed.2.0.weight",
        "VIT_base.se_block.linear2.weight": "base.gate.linear2.weight",
        "VIT_base.blocks.1.attn.qkv.bias": "base.blocks.1.attn.qkv.bias",
        "VIT_cross.head.linear.weight": "distillation.classifier.head.weight",
        "VIT_cross.pos_embed": "distillation.classifier.pos_embed",
        "cross_attention_1.theta": "cross_modules.0.attention.theta",
        "cross_attention_2.proj.weight": "cross_modules.1.attention.proj.weight",
        "cross_attention_3.mlp.fc2.weight": "cross_modules.2.mlp.fc2.weight",
    }
    assert names.keys() <= SCHEMAS["qcs_raf_db"].keys()
    assert is_original(names)
    assert from_original({key: torch.zeros(1) for key in names}).keys() == set(names.values())
    assert list(from_original({key: torch.zeros(1) for key in names})) == list(names.values())


def test_original_values_arrive_in_the_network() -> None:
    model = on_meta("base_ir50.raf_db").to_empty(device="cpu")
    numbered = {
        key: torch.tensor(number).expand(shape) for number, (key, shape) in enumerate(SCHEMAS["qcs_raf_db"].items())
    }
    qcs.load_checkpoint(model, {"state_dict": {f"module.{key}": value for key, value in numbered.items()}})
    loaded, numbers = model.state_dict(), list(SCHEMAS["qcs_raf_db"])
    for ours, theirs in (("base.head.bias", "VIT_base.head.linear.bias"), ("tokens.reduce.0.bias", "conv1.bias")):
        assert (loaded[ours] == numbers.index(theirs)).all()


# -------------------------------------------------------------------------------------------------- wrapping and files


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model", "net"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_state_dict_is_found_in_its_wrapping(state: State, wrapper: str | None, prefix: str) -> None:
    model = qcs.create_model("qcs_nano")
    prefixed = {prefix + key: value for key, value in state.items()}
    qcs.load_checkpoint(model, {wrapper: prefixed, "epoch": 3} if wrapper else prefixed)
    assert same(model, state)


FORMATS: dict[str, Callable[[Any, Path], None]] = {
    "weights.pth": torch.save,
    "weights.tar": lambda content, path: torch.save({"state_dict": content, "epoch": 3}, path),
    "old.pth": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    "weights.safetensors": save_file,
}


@pytest.mark.parametrize(("name", "save"), FORMATS.items(), ids=FORMATS)
def test_files_of_every_format_load(state: State, tmp_path: Path, name: str, save: Callable[[Any, Path], None]) -> None:
    save(state, tmp_path / name)
    model = qcs.create_model("qcs_nano")
    qcs.load_checkpoint(model, tmp_path / name)
    assert same(model, state)
    qcs.load_checkpoint(qcs.create_model("qcs_nano"), str(tmp_path / name))


def test_number_of_classes_is_read_from_the_weights(state: State) -> None:
    assert num_classes_in(state, "weights.pth") == 7
    with pytest.raises(InputError, match=r"weights\.pth holds no base classifier"):
        num_classes_in({"fc.weight": torch.zeros(7, 4)}, "weights.pth")


def test_model_keeps_its_dtype(state: State) -> None:
    model = qcs.create_model("qcs_nano").double()
    qcs.load_checkpoint(model, state)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert same(model, {k: v.double() if v.is_floating_point() else v for k, v in state.items()})


class Stranger:
    """An object whose class the loader must not need."""

    def __init__(self) -> None:
        self.tensor = torch.zeros(2)


@pytest.mark.parametrize(
    "beside",
    [Stranger(), Stranger, argparse.Namespace(lr=0.1), np.float64(0.9), np.arange(3), Path("log"), {1: {Stranger()}}],
    ids=lambda x: type(x).__name__,
)
def test_foreign_objects_beside_the_weights_do_no_harm(state: State, tmp_path: Path, beside: Any) -> None:
    torch.save({"model_state_dict": OrderedDict(state), "beside": beside}, tmp_path / "weights.pth")
    model = qcs.create_model("qcs_nano")
    qcs.load_checkpoint(model, tmp_path / "weights.pth")
    assert same(model, state)


class Bomb:
    """Unpickling it calls `function` with `argument`."""

    def __init__(self, function: Callable[..., Any], argument: Any) -> None:
        self.call = function, (argument,)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("function", [os.system, subprocess.getoutput, exec, eval], ids=lambda f: f.__name__)
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_never_runs(state: State, tmp_path: Path, function: Callable[..., Any], zipped: bool) -> None:
    path, marker = tmp_path / "weights.pth", tmp_path / "exploded"
    shell = function in (os.system, subprocess.getoutput)
    bomb = Bomb(function, f"touch '{marker}'" if shell else f"open({str(marker)!r}, 'w')")
    torch.save({"state_dict": state, "bomb": bomb}, path, _use_new_zipfile_serialization=zipped)
    with contextlib.suppress(InputError):
        qcs.load_checkpoint(qcs.create_model("qcs_nano"), path)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # the bomb was live


class Config(dict[str, float]):
    """A dictionary that cannot be read without running its code."""


def truncated(save: Callable[[Any, Path], None]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        save({"weight": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:-500])

    return write


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "text.pth": (lambda path: path.write_text("these are no weights"), "not a readable weights file"),
    "empty.pth": (lambda path: path.write_bytes(b""), "not a readable weights file"),
    "truncated.pth": (truncated(torch.save), "not a readable weights file"),
    "text.safetensors": (lambda path: path.write_text("these are no weights"), "not a readable weights file"),
    "empty.safetensors": (lambda path: path.write_bytes(b""), "not a readable weights file"),
    "truncated.safetensors": (truncated(save_file), "not a readable weights file"),
    "missing.pth": (lambda path: None, "no weights file at"),
    "folder.pth": (lambda path: path.mkdir(), "no weights file at"),
    "network.pth": (lambda path: torch.save(nn.Linear(2, 2), path), "holds a Linear, expected a state dict"),
    "subclass.pth": (lambda path: torch.save(Config(lr=0.1), path), "not a readable weights file"),
    "list.pth": (lambda path: torch.save([torch.zeros(2)], path), "holds a list, expected a state dict"),
    "numbers.pth": (lambda path: torch.save({"epoch": 3}, path), "holds no state dict: .*found epoch"),
    "nothing.pth": (lambda path: torch.save({}, path), "holds no state dict"),
    "numbered.pth": (lambda path: torch.save({0: torch.zeros(2)}, path), "holds no state dict: .*found 0"),
}


@pytest.mark.parametrize(("name", "write", "message"), [(k, *v) for k, v in DAMAGED.items()], ids=DAMAGED)
def test_files_without_weights_are_refused_in_one_line(
    tmp_path: Path, name: str, write: Callable[[Path], object], message: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError, match=message) as refusal:
        qcs.load_checkpoint(qcs.create_model("base_nano"), tmp_path / name)
    assert str(tmp_path / name) in str(refusal.value)
    assert str(refusal.value).isprintable()
    assert "weights_only" not in str(refusal.value)


# --------------------------------------------------------------------------------------------------------- strictness


def test_base_network_takes_a_full_checkpoint(state: State) -> None:
    model = qcs.create_model("base_nano")
    qcs.load_checkpoint(model, state)
    assert same(model, state)


def test_quadruplet_weights_do_not_pass_for_dual_ones(state: State) -> None:
    with pytest.raises(InputError, match=r"does not fit dcs_nano: 3 unexpected: cross_modules.0.attention.theta, "):
        qcs.load_checkpoint(qcs.create_model("dcs_nano"), state)


def test_dual_weights_do_not_pass_for_quadruplet_ones() -> None:
    state = qcs.create_model("dcs_nano").state_dict()
    with pytest.raises(InputError, match=r"does not fit qcs_nano: 3 missing: cross_modules.0.attention.theta, "):
        qcs.load_checkpoint(qcs.create_model("qcs_nano"), state)


def test_weights_of_another_network_are_refused_by_their_keys(state: State) -> None:
    model = qcs.create_model("qcs_nano")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    other = {"conv1.weight": torch.zeros(1), "layer1.0.conv1.weight": torch.zeros(1)}
    with pytest.raises(
        InputError,
        match=rf"the state dict does not fit qcs_nano: {len(state)} missing: backbone.model.stages.0.0.act.weight, .*, "
        rf"and {len(state) - 4} more; 2 unexpected: conv1.weight, layer1.0.conv1.weight$",
    ):
        qcs.load_checkpoint(model, other)
    assert same(model, before)


def test_another_number_of_classes_is_refused_by_its_shapes(state: State) -> None:
    with pytest.raises(
        InputError, match=r"4 of another shape: base.head.bias \(7,\) instead of \(8,\), base.head.weight \(7, 64\)"
    ):
        qcs.load_checkpoint(qcs.create_model("qcs_nano", num_classes=8), state)
