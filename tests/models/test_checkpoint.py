"""Loading weights: both layouts, every wrapping, strictly, and without running what a file carries."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from conversion import SCHEMAS, network
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import qcs
from qcs.errors import InputError
from qcs.models import save_model
from qcs.models.checkpoint import num_classes_in

State = dict[str, Tensor]


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


@pytest.mark.parametrize(("family", "schema"), [("own", name) for name in SCHEMAS] + [("base", "dcs_affectnet8")])
def test_every_entry_of_an_original_checkpoint_is_accounted_for(family: str, schema: str) -> None:
    name = network(schema)
    model = on_meta(name if family == "own" else name.replace("dcs", "base"))
    loaded = qcs.load_checkpoint(model, original(schema))
    assert loaded.total == len(SCHEMAS[schema])
    assert loaded.matched == len(model.state_dict())
    assert loaded.fresh == 0
    expected = {
        "head of the face-recognition network, unused": 12,
        "layers of the transformers, unused": 22,
        "bilinear-pooling head that only DCS for AffectNet-8 holds, unused": 2 * (schema == "dcs_affectnet8"),
        "cross part, not in a base network": 52 * (family == "base"),
    }
    assert loaded.dropped == {what: count for what, count in expected.items() if count}


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


class Unknown:
    """An object whose class the loader must not need."""

    def __init__(self) -> None:
        self.tensor = torch.zeros(2)


@pytest.mark.parametrize(
    "beside",
    [Unknown(), Unknown, argparse.Namespace(lr=0.1), np.float64(0.9), np.arange(3), Path("log"), {1: {Unknown()}}],
    ids=lambda x: type(x).__name__,
)
def test_foreign_objects_beside_the_weights_do_no_harm(state: State, tmp_path: Path, beside: Any) -> None:
    torch.save({"model_state_dict": OrderedDict(state), "beside": beside}, tmp_path / "weights.pth")
    model = qcs.create_model("qcs_nano")
    qcs.load_checkpoint(model, tmp_path / "weights.pth")
    assert same(model, state)


class Config(dict[str, float]):
    """A dictionary that cannot be read without running its code."""


def truncated(save: Callable[[Any, Path], None]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        save({"weight": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:-500])

    return write


CORRUPT: dict[str, tuple[Callable[[Path], object], str]] = {
    "text.pth": (lambda path: path.write_text("these are no weights"), "not a readable weights file"),
    "empty.pth": (lambda path: path.write_bytes(b""), "not a readable weights file"),
    "truncated.pth": (truncated(torch.save), "not a readable weights file"),
    "truncated, old.pth": (truncated(FORMATS["old.pth"]), "not a readable weights file"),
    "text.safetensors": (lambda path: path.write_text("these are no weights"), "not a readable weights file"),
    "empty.safetensors": (lambda path: path.write_bytes(b""), "not a readable weights file"),
    "truncated.safetensors": (truncated(save_file), "not a readable weights file"),
    "missing.pth": (lambda path: None, "no weights found for"),
    "folder.pth": (lambda path: path.mkdir(), "is not a run folder with weights"),
    "network.pth": (
        lambda path: torch.save(nn.Linear(2, 2), path),
        "does not fit base_nano: .* 2 unexpected: bias, weight",
    ),
    "subclass.pth": (lambda path: torch.save(Config(lr=0.1), path), "not a readable weights file"),
    "list.pth": (lambda path: torch.save([torch.zeros(2)], path), "holds a list, expected a state dict"),
    "numbers.pth": (lambda path: torch.save({"epoch": 3}, path), "holds no state dict: .*found epoch"),
    "nothing.pth": (lambda path: torch.save({}, path), "holds no state dict"),
    "numbered.pth": (lambda path: torch.save({0: torch.zeros(2)}, path), "holds no state dict: .*found 0"),
}


@pytest.mark.parametrize(("name", "write", "message"), [(k, *v) for k, v in CORRUPT.items()], ids=CORRUPT)
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
    needed = [key for key in state if not key.endswith("num_batches_tracked")]  # files may lack the counters of norms
    with pytest.raises(
        InputError,
        match=rf"the state dict does not fit qcs_nano: {len(needed)} missing: backbone.model.stages.0.0.act.weight, "
        rf".*, and {len(needed) - 4} more; 2 unexpected: conv1.weight, layer1.0.conv1.weight$",
    ):
        qcs.load_checkpoint(model, other)
    assert same(model, before)


@pytest.mark.parametrize("family", ["base", "dcs", "qcs"])
def test_another_number_of_classes_is_refused_with_the_remedy(tmp_path: Path, family: str) -> None:
    path = tmp_path / "weights.pth"
    torch.save(qcs.create_model(f"{family}_nano", num_classes=8).state_dict(), path)
    with pytest.raises(
        InputError,
        match=rf"weights\.pth holds weights for 8 classes, this {family}_nano has 7: create it with num_classes=8; "
        r"reset_classifier\(7\) then gives fresh heads$",
    ):
        qcs.create_model(f"{family}_nano", checkpoint_path=path)
    model: Any = qcs.create_model(f"{family}_nano", num_classes=8, checkpoint_path=path)
    model.reset_classifier(7)
    assert model(torch.zeros(1, 3, 48, 48)).shape == (1, 7)


def test_a_head_without_its_bias_is_named_as_what_is_missing() -> None:
    model = qcs.create_model("base_nano")
    state = {key: value for key, value in model.state_dict().items() if key != "base.head.bias"}
    with pytest.raises(InputError, match=r"does not fit base_nano: 1 missing: base\.head\.bias$"):
        qcs.load_checkpoint(model, state)


def test_another_number_of_classes_is_refused_with_the_names_that_have_it() -> None:
    with pytest.raises(InputError, match=r"8 classes.* Its shapes are those of qcs_ir50.affectnet8 or qcs_ir50.ferpl"):
        qcs.load_checkpoint(on_meta("qcs_ir50.raf_db"), original("qcs_ferplus"))


@pytest.mark.parametrize(
    ("schema", "name", "fitting"),
    [
        ("qcs_raf_db", "dcs_ir50.raf_db", "qcs_ir50.affectnet7 or qcs_ir50.raf_db"),
        ("dcs_ferplus", "qcs_ir50.ferplus", "dcs_ir50.affectnet8 or dcs_ir50.ferplus"),
        ("dcs_affectnet8", "qcs_nano", "dcs_ir50.affectnet8"),
    ],
)
def test_weights_of_another_network_are_refused_with_the_names_that_fit(schema: str, name: str, fitting: str) -> None:
    with pytest.raises(InputError, match=rf"does not fit .*\. Its shapes are those of {fitting}$"):
        qcs.load_checkpoint(on_meta(name), original(schema))


# --------------------------------------------------------------------------------------------------------- backbones


def backbone_of(state: State) -> State:
    return {key: value for key, value in state.items() if key.startswith("backbone.")}


def test_part_of_a_network_is_filled_only_on_request_and_says_so(state: State) -> None:
    model = qcs.create_model("qcs_nano")
    with pytest.raises(InputError, match=r"holds a backbone alone: load it into qcs_nano with part='backbone', which"):
        qcs.load_checkpoint(model, backbone_of(state))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    loaded = qcs.load_checkpoint(model, state, part="backbone")
    assert str(loaded) == (
        f"{len(backbone_of(state))} of {len(state)} entries matched, {len(state) - len(backbone_of(state))} left out "
        f"(outside the backbone); {len(state) - len(backbone_of(state))} entries of the network stay fresh"
    )
    assert same(model, {**before, **backbone_of(state)})


def test_a_base_network_fills_all_but_the_cross_part(state: State) -> None:
    trained, model = qcs.create_model("base_nano"), qcs.create_model("qcs_nano")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    loaded = qcs.load_checkpoint(model, trained.state_dict(), part="base")
    assert (loaded.matched, loaded.fresh) == (len(trained.state_dict()), len(before) - len(trained.state_dict()))
    assert same(model, {**before, **trained.state_dict()})
    loaded = qcs.load_checkpoint(model, state, part="base")  # of a whole network too
    assert loaded.dropped == {"cross part": len(before) - loaded.matched}
    fewer = {key: value for key, value in trained.state_dict().items() if key != "base.cls_token"}
    with pytest.raises(InputError, match=r"does not fit qcs_nano: 1 missing: base\.cls_token$"):
        qcs.load_checkpoint(model, fewer, part="base")


def test_a_backbone_is_as_strict_as_a_network(state: State) -> None:
    key = "backbone.model.stages.0.0.conv1.weight"
    with pytest.raises(InputError, match=rf"does not fit qcs_nano: 1 missing: {key}$"):
        qcs.load_checkpoint(qcs.create_model("qcs_nano"), {k: v for k, v in state.items() if k != key}, part="backbone")
    more = {**state, "backbone.model.stages.0.0.conv3.weight": state[key]}
    with pytest.raises(InputError, match=r"does not fit qcs_nano: 1 unexpected: .*conv3.weight$"):
        qcs.load_checkpoint(qcs.create_model("qcs_nano"), more, part="backbone")


def test_a_backbone_by_its_own_names_fills_that_of_a_network_and_the_other_way_round(state: State) -> None:
    alone: Any = qcs.create_model("ir_nano", num_classes=0)
    loaded = qcs.load_checkpoint(alone, state)
    assert (loaded.matched, loaded.total) == (len(backbone_of(state)), len(state))
    model = qcs.create_model("base_nano")
    assert qcs.load_checkpoint(model, alone.state_dict(), part="backbone").dropped == {}
    assert same(model, {**model.state_dict(), **backbone_of(state)})


def test_a_face_recognition_network_fills_the_backbone_of_a_network() -> None:
    ir50 = {k.removeprefix("ir_back."): v for k, v in original("qcs_raf_db").items() if k.startswith("ir_back.")}
    loaded = qcs.load_checkpoint(on_meta("dcs_ir50.ferplus"), ir50, part="backbone")
    assert (loaded.matched, loaded.total, loaded.fresh) == (292, 304, 392 - 292)


def test_what_has_no_backbone_is_refused(state: State) -> None:
    with pytest.raises(InputError, match=r"part='backbone' is for networks around a backbone, not for ir_nano"):
        qcs.load_checkpoint(qcs.create_model("ir_nano"), state, part="backbone")
    with pytest.raises(InputError, match=r"part must be 'backbone', 'base' or None, got 'head'"):
        qcs.load_checkpoint(qcs.create_model("qcs_nano"), state, part=cast(Any, "head"))
    with pytest.raises(InputError, match=r"does not fit qcs_nano: \d+ missing: backbone"):
        qcs.load_checkpoint(qcs.create_model("qcs_nano"), {"fc.weight": torch.zeros(1)}, part="backbone")


# ---- names that wrappers add


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module."]
)
def test_names_of_wrappers_are_accepted_in_any_order(prefix: str) -> None:
    model, fresh = qcs.create_model("base_nano"), qcs.create_model("base_nano")
    qcs.load_checkpoint(fresh, {f"{prefix}{name}": value for name, value in model.state_dict().items()})
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in model.state_dict().items())


def test_the_same_entry_with_and_without_a_wrapper_is_refused() -> None:
    model = qcs.create_model("base_nano")
    state = model.state_dict()
    with pytest.raises(InputError, match="entries both with and without"):
        qcs.load_checkpoint(model, {**state, **{f"module.{name}": value for name, value in state.items()}})


def compiled_backbone(model: Any) -> Any:
    model.backbone = torch.compile(model.backbone)
    return model


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "compiled": torch.compile,
    "data-parallel": torch.nn.DataParallel,
    "compiled around data-parallel": lambda model: torch.compile(torch.nn.DataParallel(model)),
    "data-parallel around compiled": lambda model: torch.nn.DataParallel(torch.compile(model)),
    "averaged": torch.optim.swa_utils.AveragedModel,
    "a compiled part": compiled_backbone,
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_network_is_saved_as_the_network_inside(tmp_path: Path, wrapper: str) -> None:
    model = qcs.create_model("base_nano")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    path = save_model(WRAPPERS[wrapper](model), tmp_path / "model.safetensors")
    assert load_file(path).keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in qcs.load_model(path).state_dict().items())


def test_a_module_that_is_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only a network created by name can be saved"):
        save_model(torch.nn.Linear(2, 2), tmp_path / "model.safetensors")
