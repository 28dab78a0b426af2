"""Every way to name weights works wherever weights are asked for, and an unknown name gives one line everywhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from PIL import Image
from typer.testing import CliRunner

import qcs
from qcs import cli
from qcs.engine.training.build import build_model
from qcs.engine.training.data import sources
from qcs.engine.training.teachers import Teachers
from qcs.errors import InputError
from qcs.files import sha256
from qcs.models import factory, find_weights, save_model, weights
from qcs.report.figures import Network

WAYS = {
    "shipped": "qcs_nano",
    "shipped with tag": "qcs_nano.untrained",
    "run folder": "run",
    "file": "weights.safetensors",
    "Hub": "hf-hub:me/faces@v1",
    "folder of a repository": "local-dir:repository",
}
UNKNOWN = "qcs_nan"
way = pytest.mark.parametrize("source", WAYS.values(), ids=WAYS)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same weights in every form, and with data."""
    folder = tmp_path_factory.mktemp("workplace")
    model: Any = qcs.create_model("qcs_nano", num_classes=3)
    model.name_classes(toy.CLASSES)
    file = save_model(model, folder / "weights.safetensors")
    for copy in ("run/best.safetensors", "repository/model.safetensors", "package/qcs_nano.untrained.safetensors"):
        (folder / copy).parent.mkdir()
        shutil.copyfile(file, folder / copy)
    config = {"architecture": "qcs_nano", "qcs": {"sha256": {"model.safetensors": sha256(file)}}}
    (folder / "repository" / "config.json").write_text(json.dumps(config))
    toy.archive(folder / "faces.npz")
    Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save(folder / "face.png")
    return folder


@pytest.fixture(autouse=True)
def inside(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in that folder, with the package and the Hub replaced by parts of it."""
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(weights, "EMBEDDED", workplace / "package")
    hub = workplace / "repository" / "model.safetensors"
    monkeypatch.setattr(weights, "fetch_weights", lambda *_, **__: hub)


def trained_from(source: str) -> Any:
    """The network that `qcs train --init` starts with."""
    config = toy.settings(model="qcs_nano", init=source)
    return build_model(config, sources(config, toy.splits("train")))[0]


def teacher(source: str) -> Any:
    """The network that `qcs train --teacher` learns from."""
    student: Any = qcs.create_model("qcs_nano", num_classes=3)
    student.name_classes(toy.CLASSES)
    return Teachers([source], 0.5, student).networks[0][0]


LOADING: dict[str, Callable[[str], Any]] = {
    "load_model": qcs.load_model,
    "checkpoint_path": lambda source: qcs.create_model("qcs_nano", num_classes=3, checkpoint_path=source),
    "report figures": lambda source: Network(source).model,
    "--init": trained_from,
    "--teacher": teacher,
}
COMMANDS = {
    "evaluate": ("evaluate", "{}", "--data", "faces.npz"),
    "predict": ("predict", "face.png", "--weights", "{}"),
    "predict --no-detect": ("predict", "face.png", "--no-detect", "--weights", "{}"),
    "visualize": ("visualize", "similarity", "{}", "--data", "faces.npz"),
    "export": ("export", "{}"),
    "push": ("push", "{}", "me/faces", "--dry-run", "published"),
    "serve": ("serve", "{}"),
}
command = pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)


class LoadingError(OSError):
    """Raised in place of building the network, with its weights file."""


def run(arguments: tuple[str, ...], source: str) -> BaseException | None:
    """The exception that a command ends with."""
    return CliRunner().invoke(cli.app, [argument.format(source) for argument in arguments]).exception


@way
@pytest.mark.parametrize("load", LOADING.values(), ids=LOADING)
def test_networks_are_filled_from_weights_named_in_any_way(load: Callable[[str], Any], source: str) -> None:
    expected = qcs.load_model("weights.safetensors").state_dict()
    for key, value in load(source).state_dict().items():
        assert torch.equal(value, expected[key])


@way
@command
def test_commands_take_weights_named_in_any_way(
    arguments: tuple[str, ...], source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, checkpoint_path: Path, **__: object) -> None:
        raise LoadingError(checkpoint_path)

    import_module("qcs.publish")  # binds create_model: imported while that is replaced, it would keep the replacement
    monkeypatch.setattr(factory, "create_model", stop)
    error = run(arguments, source)
    assert isinstance(error, LoadingError) and error.args == (find_weights(source),)


def refused(call: Callable[[str], Any]) -> str:
    with pytest.raises(InputError) as caught:
        call(UNKNOWN)
    return str(caught.value)


def test_an_unknown_name_gives_the_same_line_everywhere() -> None:
    line = refused(find_weights)
    assert line.startswith("no weights found for 'qcs_nan': ") and "did you mean qcs_nano?" in line
    assert {name: refused(load) for name, load in LOADING.items()} == dict.fromkeys(LOADING, line)
    ends = {name: run(arguments, UNKNOWN) for name, arguments in COMMANDS.items()}
    assert {name: str(error) for name, error in ends.items()} == dict.fromkeys(COMMANDS, line)
    assert all(isinstance(error, InputError) for error in ends.values())
