"""The page answers with weights on this machine: the user's, or those embedded in the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qcs
from qcs.errors import InputError
from qcs.models import load_model, pretrained, save_model
from qcs.serve.weights import local_weights


def test_weights_are_those_of_a_file_or_a_run(tmp_path: Path) -> None:
    model: Any = qcs.create_model("dcs_nano", num_classes=3)
    file = save_model(model, tmp_path / "best.safetensors")
    for source in (file, tmp_path):
        loaded = load_model(local_weights(str(source)))
        assert (loaded.branches, loaded.num_classes, loaded.training) == (2, 3, False)


def test_a_name_stands_for_weights_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "EMBEDDED", tmp_path)
    model: Any = qcs.create_model("qcs_nano")
    name, _ = pretrained.resolve("qcs_nano", {})
    save_model(model, tmp_path / f"{name}.safetensors")
    loaded = load_model(local_weights("qcs_nano"))
    assert loaded.pretrained_cfg["architecture"] == "qcs_nano" and not loaded.training
    assert all((loaded.state_dict()[key] == value).all() for key, value in model.state_dict().items())


def test_a_name_without_any_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "EMBEDDED", tmp_path)
    with pytest.raises(InputError, match="no run folder or weights file at qcs_small, and no network of that name"):
        local_weights("qcs_small")


@pytest.mark.parametrize("source", ["hf-hub:org/name", "local-dir:folder"])
def test_weights_elsewhere_are_refused(source: str) -> None:
    with pytest.raises(InputError, match=f"on this machine only, got {source}"):
        local_weights(source)
