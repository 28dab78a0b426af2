"""Pickles of other kinds than PyTorch's state dicts: arrays by name, and whole modules; nothing in them runs."""

from __future__ import annotations

import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import qcs
from qcs.errors import InputError
from qcs.models.checkpoint import read_entries
from qcs.models.pickles import load_pickle

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(5, dtype=">f4"),
    "count": np.array(7, dtype=np.int64),
    "none": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("protocol", range(5))
def test_arrays_by_name_come_out_as_tensors(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(ARRAYS, protocol=protocol))
    found: Any = load_pickle(path)
    assert found.keys() == ARRAYS.keys()
    for name, value in found.items():
        assert value.shape == ARRAYS[name].shape and np.array_equal(value.numpy(), ARRAYS[name])


def test_arrays_that_python_2_pickled_come_out_too(tmp_path: Path) -> None:
    values = np.array([1.5, -2.0, 255.0], np.float32)

    def text(content: bytes) -> bytes:  # Python 2 wrote text and bytes alike
        return b"U" + bytes([len(content)]) + content

    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text(b"b") + b"\x87R"
    dtype = (
        b"cnumpy\ndtype\n"
        + text(b"f4")
        + b"K\0K\1\x87R(K\3"
        + text(b"<")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    )
    state = b"(K\1K\3\x85" + dtype + b"\x89" + text(values.tobytes()) + b"tb"
    old = b"\x80\2}" + text(b"bias") + empty + state + b"s."
    assert pickle.loads(old, encoding="latin1")["bias"].tolist() == values.tolist()
    (tmp_path / "old.pkl").write_bytes(old)
    found: Any = load_pickle(tmp_path / "old.pkl")
    assert found["bias"].tolist() == values.tolist()


class Hostile:
    """Unpickling it runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


class Harmless:
    """An object that is no array."""


@pytest.mark.parametrize("protocol", range(5))
def test_an_attack_among_arrays_is_named_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    path, marker = tmp_path / "weights.pkl", tmp_path / "exploded"
    path.write_bytes(pickle.dumps({**ARRAYS, "bomb": Hostile(marker)}, protocol=protocol))
    with pytest.raises(InputError, match=r"runs code when it is unpickled \((posix|nt)\.system\): refused"):
        read_entries(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(ARRAYS)[:-40],
        pickle.dumps({"object": Harmless()}),
        pickle.dumps({"words": np.array(["a", {}], object)}),
        pickle.dumps([ARRAYS]),
        b"\x80\x02N" + b"r\xff\xff\xff\x7f" + b".",  # a place in the memo that would take 16 GB in C
        b"\x80\x04",
        b"",
    ],
    ids=["truncated", "object", "objects in an array", "list", "memo", "end", "empty"],
)
def test_what_holds_no_arrays_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"^.*weights\.pkl is not a readable weights file .*$"):
        read_entries(path)


def test_arrays_of_other_names_than_text_are_no_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps({1: np.zeros(2)}))
    with pytest.raises(InputError, match="holds no state dict"):
        read_entries(path)


def test_a_whole_module_gives_its_state_dict_without_its_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("networks_of_others")
    monkeypatch.setitem(sys.modules, "networks_of_others", module)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4))
            self.scale = nn.Parameter(torch.randn(2))
            self.register_buffer("kept", torch.ones(3))
            self.register_buffer("dropped", torch.ones(3), persistent=False)

    Network.__module__, Network.__qualname__ = "networks_of_others", "Network"
    module.Network = Network  # type: ignore[attr-defined]
    network = Network()
    torch.save(network, tmp_path / "module.pth")
    torch.save(network, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    monkeypatch.delitem(sys.modules, "networks_of_others")
    found: Any = load_pickle(tmp_path / "module.pth")
    expected = network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in found.items())
    with pytest.raises(InputError, match=r"old\.pth is not a readable weights file"):
        read_entries(tmp_path / "old.pth")


WRAPPINGS: dict[str, Any] = {
    "POSTER": lambda state: {"iter": 3, "model_state_dict": _prefixed(state), "optimizer_state_dict": {}},
    "POSTER++": lambda state: {
        "epoch": 1,
        "state_dict": _prefixed(state),
        "best_acc": torch.tensor(92.0),
        "optimizer": {},
        "recorder": Harmless(),
    },
    "DAN, DDAMFN": lambda state: {"iter": 3, "model_state_dict": state, "optimizer_state_dict": {}},
    "Ada-DF": lambda state: {
        "epoch": 2,
        "state_dict": state,
        "acc": 0.9,
        "best_acc": 0.9,
        "optimizer": {},
        "class_distributions": torch.eye(7),
    },
    "GSDNet": lambda state: state,
    "LNSU-Net": lambda state: {"epoch": 1, "global_step": 9, "state_dict_model": state, "state_optimizer": {}},
    "start_0": lambda state: {"state_dict_backbone": state},
}


def _prefixed(state: dict[str, Any]) -> dict[str, Any]:
    return {f"module.{key}": value for key, value in state.items()}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before PyTorch 1.6"])
@pytest.mark.parametrize("name", WRAPPINGS)
def test_every_official_wrapping_is_taken_off(name: str, zipped: bool, tmp_path: Path) -> None:
    state = {"some.weight": torch.randn(2, 2), "other.bias": torch.randn(3)}
    path = tmp_path / "checkpoint.pth.tar"
    torch.save(WRAPPINGS[name](state), path, _use_new_zipfile_serialization=zipped)
    found = read_entries(path).state
    assert found.keys() == state.keys() and all(torch.equal(value, state[key]) for key, value in found.items())


def test_a_file_with_nothing_but_the_state_of_an_optimizer_says_so(tmp_path: Path) -> None:
    weights = [nn.Parameter(torch.zeros(2))]
    torch.save(torch.optim.Adam(weights).state_dict(), tmp_path / "poster_best.pth")
    with pytest.raises(InputError, match=r"holds the state of an optimizer and no weights, as POSTER\+\+ writes its"):
        read_entries(tmp_path / "poster_best.pth")


def test_weights_without_counters_of_batch_norms_fill_a_network_and_the_counters_are_counted() -> None:
    model: Any = qcs.create_model("ir_nano")
    state = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    loaded = qcs.load_checkpoint(qcs.create_model("ir_nano"), state)
    counters = len(model.state_dict()) - len(state)
    assert (loaded.matched, loaded.fresh) == (len(state), counters) and counters > 0
    one = {**state, "stem.norm.num_batches_tracked": torch.tensor(3)}
    with pytest.raises(InputError, match=r"does not fit ir_nano: \d+ missing: .*num_batches_tracked"):
        qcs.load_checkpoint(qcs.create_model("ir_nano"), one)
