"""Corrupt weights files load or end in an `InputError`: nothing else, no hang, nothing executed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch
from corruption import corrupt_bytes, corrupt_entry, read_or_refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from qcs.engine.training.checkpoints import Checkpoints
from qcs.models import load_checkpoint
from qcs.models.weights import read_config

EXAMPLES = int(os.environ.get("QCS_FUZZ_EXAMPLES", 300))
KINDS = ("zipped pickle", "old pickle", "safetensors", "run checkpoint")
TOKENS = [
    b"", b"\0", b"\n", b".", b"}", b'"', b"\x80\x02", b"R", b"b", b"cposix\nsystem\n", b"c__builtin__\neval\n",
    b"(X\x02", b"\xff" * 8, b"\0" * 8, b"-1", b"1e400", b"F32", b'"shape":[', b"[[[[", b'{"items":', b"storage",
]  # fmt: skip


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, bytes]]:
    """A file name and the content of every kind, in order."""
    folder, state = tmp_path_factory.mktemp("originals"), network().state_dict()
    torch.save({"state_dict": state, "epoch": 3}, folder / "new.pth")
    torch.save({"model": state}, folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, folder / "weights.safetensors", metadata={"qcs": '{"architecture": "base_nano"}'})
    run = Checkpoints(folder / "run").save(5, {"model": state, "epoch": 3, "history": [{"loss": 0.5}]})
    files = (folder / "new.pth", folder / "old.pth", folder / "weights.safetensors", run)
    return {kind: (file.name, file.read_bytes()) for kind, file in zip(KINDS, files, strict=True)}


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_corrupt_weights_end_in_an_input_error_or_load(
    data: st.DataObject, originals: dict[str, tuple[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("a file ran a command"))
    kind = data.draw(st.sampled_from(KINDS))
    name, content = originals[kind]
    inside = kind == "zipped pickle" and data.draw(st.booleans())
    for old in tmp_path.iterdir():
        old.unlink()
    corrupt = data.draw((corrupt_entry if inside else corrupt_bytes)(content, TOKENS))
    if kind == "run checkpoint" and data.draw(st.booleans()):  # as if it had been written so: the hash is right
        name = f"step-0000000005-{hashlib.sha256(corrupt).hexdigest()[:16]}.safetensors"
    (tmp_path / name).write_bytes(corrupt)
    if kind == "run checkpoint":
        read_or_refused("checkpoints", lambda: Checkpoints(tmp_path).load_newest())
    else:
        path = tmp_path / name
        read_or_refused("weights", lambda: load_checkpoint(network(), path), lambda: read_config(path))
    assert [path.name for path in tmp_path.iterdir()] == [name]
