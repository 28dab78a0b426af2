"""Weights that cannot be right are refused in one line, whoever wrote them; nothing slow or large is built first."""

from __future__ import annotations

import copy
import functools
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from corruption import SECONDS, read_or_refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

import qcs
from qcs.engine import classify
from qcs.errors import InputError
from qcs.models import load_checkpoint, load_model, save_model
from qcs.models.metadata import MAX_CHARACTERS, MAX_DEPTH
from qcs.models.weights import read_class_names, read_config

EXAMPLES = int(os.environ.get("QCS_FUZZ_EXAMPLES", 3000)) // 10  # each builds a network
LONGEST = 2000  # characters of a message
NAMES = ("happy", "sad", "anger")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and weights of a network."""
    model = qcs.create_model("base_nano", num_classes=3)
    model.name_classes(NAMES)
    path = save_model(model, tmp_path_factory.mktemp("original") / "model.safetensors", info={"epoch": 1})
    with safe_open(path, "pt") as file:
        return read_config(path), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def written(path: Path, metadata: Any, state: dict[str, Tensor]) -> Path:
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    path.write_bytes(save(state, {"qcs": text}))
    return path


def nested(levels: int) -> Any:
    content: Any = 0
    for _ in range(levels):
        content = [content]
    return content


def calibrated(**label: Any) -> dict[str, Any]:
    return {"label": label, "votes": None, "data": "faces.npz", "split": "validation", "images": 100}


METADATA: dict[str, tuple[str, Any, str]] = {
    "mean not finite": ("pretrained_cfg.mean", [math.nan] * 3, "has corrupt metadata"),
    "mean out of range": ("pretrained_cfg.mean", [0.5, 0.5, 128], "states mean .*; expected one or three numbers"),
    "mean of text": ("pretrained_cfg.mean", "abc", "states mean"),
    "deviation of zero": ("pretrained_cfg.std", [0, 0, 0], r"states std .*; expected one or three numbers from 0\.001"),
    "deviation below zero": ("pretrained_cfg.std", [-1, 1, 1], "states std"),
    "two means": ("pretrained_cfg.mean", [0.1, 0.2], "states mean"),
    "huge images": ("pretrained_cfg.input_size", [3, 10**6, 10**6], "states input_size"),
    "crop of nothing": ("pretrained_cfg.crop_pct", 0, "states crop_pct"),
    "unknown interpolation": ("pretrained_cfg.interpolation", "magic", "states interpolation"),
    "duplicate class": ("pretrained_cfg.label_names", ["sad", "sad", "happy"], "states the class 'sad' twice"),
    "too few classes": ("pretrained_cfg.label_names", ["sad"], "names 1 classes, its weights are for 3"),
    "classes of numbers": ("pretrained_cfg.label_names", [1, 2, 3], "states label_names"),
    "100,000 blocks": ("model_args.base_depth", 100_000, "states base_depth 100000; expected an integer from 0 to 64"),
    "other blocks than it holds": ("model_args.base_depth", 60, "states base_depth 60, its weights have"),
    "other width than it holds": ("model_args.embed_dim", 8192, "states embed_dim 8192, its weights have"),
    "no heads": ("model_args.num_heads", 0, "states num_heads 0"),
    "heads that do not divide": ("model_args.num_heads", 7, "num_heads must divide the 64 channels"),
    "huge grid": ("model_args.grid_size", 10**9, "states grid_size"),
    "huge backbone": ("model_args.backbone_args", {"stem_width": 10**9}, "states backbone_args"),
    "a million classes": ("model_args.num_classes", 10**6, "states num_classes"),
    "truth for a number": ("model_args.base_depth", True, "states base_depth"),
    "too deep": ("info.x", nested(MAX_DEPTH), "nested deeper than 16 levels"),
    "too large": ("info.x", "x" * MAX_CHARACTERS, r"has metadata of 1,\d+,\d+ characters; expected at most 1,048,576"),
    "calibration of text": ("calibration", "0.7", "states calibration '0.7'; expected an object with a label scaling"),
    "temperature of zero": ("calibration", calibrated(scale=[0]), r"calibration, states label .*; expected scale"),
    "temperature not finite": ("calibration", calibrated(scale=[math.inf]), "has corrupt metadata"),
    "huge bias": ("calibration", calibrated(scale=[1], bias=[1e9] * 3), "calibration, states label"),
    "scales of other classes": ("calibration", calibrated(scale=[1, 1], bias=[0, 0]), "another number of classes"),
    "too few sets": ("calibration", {**calibrated(scale=[1]), "sets": [0.5]}, "states sets .*; expected 50"),
    "risks of text": ("calibration", {**calibrated(scale=[1]), "risks": ["x"] * 20}, "calibration, states risks"),
    "calibration of nothing": ("calibration", {"data": "x"}, "has a calibration without label, split, images"),
    "long name": ("architecture", "x" * 100_000, "is of 'xxx"),
}  # fmt: skip


@pytest.mark.parametrize(("place", "value", "message"), METADATA.values(), ids=METADATA)
def test_metadata_that_cannot_be_right_is_refused(
    tmp_path: Path, original: tuple[dict[str, Any], dict[str, Tensor]], place: str, value: Any, message: str
) -> None:
    metadata, state = copy.deepcopy(original[0]), original[1]
    section, _, name = place.rpartition(".")
    (metadata[section] if section else metadata)[name] = value
    path, started = written(tmp_path / "model.safetensors", metadata, state), time.process_time()
    with pytest.raises(InputError, match=message) as refused:
        load_model(path)
    assert len(str(refused.value)) < LONGEST and "\n" not in str(refused.value)
    assert time.process_time() - started < SECONDS


def test_metadata_deeper_than_python_reads_is_refused(
    tmp_path: Path, original: tuple[dict[str, Any], dict[str, Tensor]]
) -> None:
    text = json.dumps(original[0])[:-1] + ', "x": ' + "[" * 400_000 + "]" * 400_000 + "}"
    path = written(tmp_path / "model.safetensors", text, original[1])
    with pytest.raises(InputError, match="has corrupt metadata"):
        load_model(path)
    assert read_class_names(path) is None


VALUES: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "not a number": (lambda x: x.index_fill(0, torch.tensor(0), math.nan), "values that are not finite in base.head"),
    "infinite": (lambda x: x.index_fill(0, torch.tensor(0), -math.inf), "values that are not finite in base.head"),
    "half, infinite": (lambda x: torch.full_like(x, math.inf, dtype=torch.float16), "values that are not finite"),
    "complex": (lambda x: x.to(torch.complex64), "expected dense real numbers"),
    "sparse": (lambda x: x.to_sparse(), "expected dense real numbers"),
}


@pytest.mark.parametrize(("change", "message"), VALUES.values(), ids=VALUES)
def test_values_that_cannot_be_right_are_refused(
    tmp_path: Path, original: tuple[dict[str, Any], dict[str, Tensor]], change: Callable[[Tensor], Tensor], message: str
) -> None:
    state = {**original[1], "base.head.weight": change(original[1]["base.head.weight"])}
    torch.save({"state_dict": state}, tmp_path / "model.pth")
    for source in (state, tmp_path / "model.pth"):
        with pytest.raises(InputError, match=message):
            load_checkpoint(qcs.create_model("base_nano", num_classes=3), source)


def test_a_negative_variance_is_refused(original: tuple[dict[str, Any], dict[str, Tensor]]) -> None:
    name = next(name for name in original[1] if name.endswith("running_var"))
    state = {**original[1], name: -original[1][name]}
    with pytest.raises(InputError, match=f"a negative variance in {name}"):
        load_checkpoint(qcs.create_model("base_nano", num_classes=3), state)


def test_an_entry_that_is_there_twice_is_refused(original: tuple[dict[str, Any], dict[str, Tensor]]) -> None:
    state = {**original[1], "module.base.head.bias": torch.zeros(3)}
    with pytest.raises(InputError, match=r"both with and without module\. or _orig_mod\."):
        load_checkpoint(qcs.create_model("base_nano", num_classes=3), state)


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([-1, 0, 1, 2, 7, 10**5, 10**400]), st.floats(),
    st.text(max_size=8), st.sampled_from(["nan", "qcs_nano", "sample", "hf-hub:a/b", "\x1b[2J", "x\ny", "../.."]),
)  # fmt: skip
CONTENT = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def hostile(draw: st.DrawFn, metadata: dict[str, Any], state: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    """The metadata and weights of a network with some of it replaced, removed, renamed or added."""
    metadata, state = copy.deepcopy(metadata), dict(state)
    for _ in range(draw(st.integers(0, 3))):
        section = draw(st.sampled_from([metadata, *(part for part in metadata.values() if isinstance(part, dict))]))
        name = draw(st.sampled_from(sorted(section))) if section and draw(st.booleans()) else draw(st.text(max_size=9))
        if draw(st.booleans()):
            section[name] = draw(CONTENT)
        else:
            section.pop(name, None)
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(sorted(state)))
        kind = draw(st.sampled_from(["value", "dtype", "shape", "name", "gone", "twice"]))
        if kind == "value":
            state[name] = torch.full_like(state[name].float(), draw(st.floats(width=32)))
        elif kind == "dtype":
            state[name] = state[name].to(draw(st.sampled_from([torch.bool, torch.int8, torch.bfloat16, torch.float64])))
        elif kind == "shape":
            state[name] = torch.zeros(draw(st.lists(st.integers(0, 3), max_size=3)))
        elif kind == "name":
            state[draw(st.text(max_size=12))] = state.pop(name)
        elif kind == "gone":
            del state[name]
        else:
            state[draw(st.sampled_from(["module.", "_orig_mod."])) + name] = state[name].clone()
    return metadata, state


def predicted(path: Path) -> None:
    """Classify an image; weights so large that products of layers overflow are an `InputError`."""
    faces = classify(load_model(path), Image.new("RGB", (48, 48), "gray"))
    assert math.isclose(faces.probabilities.sum(), 1, abs_tol=1e-4)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_a_hostile_file_gives_finite_answers_or_one_line(
    data: st.DataObject, original: tuple[dict[str, Any], dict[str, Tensor]], tmp_path: Path
) -> None:
    metadata, state = data.draw(hostile(*original))
    path = written(tmp_path / "model.safetensors", metadata, state)
    readers = (predicted, read_config, read_class_names)
    read_or_refused("metadata of weights", *(functools.partial(read, path) for read in readers))
