"""Pickled files that want to run code: nothing of it runs, whatever they name and however they hide it."""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import qcs
from qcs.errors import InputError
from qcs.models.pickles import load_pickle


class Bomb:
    """Unpickling it calls `function` with `argument`."""

    def __init__(self, function: Callable[..., Any], argument: Any) -> None:
        self.call = function, (argument,)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


class ByState:
    """Unpickling it sets a bomb as the state of a harmless object."""

    def __init__(self, bomb: Bomb) -> None:
        self.bomb = bomb


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Weights of a base_nano."""
    return qcs.create_model("base_nano").state_dict()


def charge(function: Callable[..., Any], marker: Path) -> Bomb:
    """A bomb that leaves a file."""
    shell = function in (os.system, subprocess.getoutput)
    return Bomb(function, f"touch '{marker}'" if shell else f"open({str(marker)!r}, 'w')")


PLACES: dict[str, Callable[[dict[str, Tensor], Bomb], Any]] = {
    "beside the weights": lambda state, bomb: {"state_dict": state, "bomb": bomb},
    "among the weights": lambda state, bomb: {**state, "base.head.bias": bomb},
    "deep inside": lambda state, bomb: {"state_dict": state, "optimizer": {"groups": [({1: [bomb]},)]}},
    "in the state of an object": lambda state, bomb: {"state_dict": state, "recorder": ByState(bomb)},
    "as a key": lambda state, bomb: {"state_dict": state, bomb: 1},
    "in place of the weights": lambda state, bomb: bomb,
}


@pytest.mark.parametrize("function", [os.system, subprocess.getoutput, exec, eval], ids=lambda f: f.__name__)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before PyTorch 1.6"])
@pytest.mark.parametrize("place", PLACES)
def test_a_file_that_wants_to_run_code_is_refused_and_nothing_runs(
    state: dict[str, Tensor], tmp_path: Path, place: str, zipped: bool, function: Callable[..., Any]
) -> None:
    path, marker = tmp_path / "weights.pth", tmp_path / "exploded"
    content = PLACES[place](state, charge(function, marker))
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match="runs code when") as no:
        qcs.load_checkpoint(qcs.create_model("base_nano"), path)
    assert str(path) in str(no.value)
    assert not marker.exists()
    with contextlib.suppress(TypeError):  # what the bomb leaves may not be hashable
        torch.load(path, weights_only=False)
    assert marker.exists()  # the bomb was live


def test_a_bare_pickle_runs_nothing(tmp_path: Path) -> None:
    path, marker = tmp_path / "weights.pkl", tmp_path / "exploded"
    path.write_bytes(pickle.dumps(charge(eval, marker), protocol=2))
    with pytest.raises(InputError, match=r"runs code when it is unpickled \((__builtin__|builtins)\.eval"):
        qcs.load_checkpoint(qcs.create_model("base_nano"), path)
    assert not marker.exists()
    pickle.loads(path.read_bytes())
    assert marker.exists()


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (os.system, r"(posix|nt)\.system"),
        (os.popen, r"os\.popen"),
        (subprocess.run, r"(subprocess|commands)\.run"),
        (importlib.import_module, r"importlib\.import_module"),
        (runpy.run_path, r"runpy\.run_path"),
        (shutil.rmtree, r"shutil\."),
        (torch.hub.load, r"torch\.hub\.load"),
        (open, r"(_io|io|builtins)\.open"),
        (compile, r"builtins\.compile"),
        (__import__, r"builtins\.__import__"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_what_the_file_wanted_to_run_is_named(tmp_path: Path, function: Callable[..., Any], named: str) -> None:
    torch.save({"bomb": Bomb(function, "x")}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match=rf"runs code when it is unpickled \({named}"):
        load_pickle(tmp_path / "weights.pth")


def explode(marker: str) -> None:
    """Stands for every function that nobody thought of."""
    Path(marker).touch()


def test_functions_that_nobody_listed_do_not_run_either(state: dict[str, Tensor], tmp_path: Path) -> None:
    path, marker = tmp_path / "weights.pth", tmp_path / "exploded"
    torch.save({"state_dict": state, "bomb": Bomb(explode, str(marker))}, path)
    model = qcs.create_model("base_nano")
    qcs.load_checkpoint(model, path)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()
