"""The weights of dlib's network: read from the installed package, checked, converted once, never half-written."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from qcs.errors import InputError
from qcs.imports import MissingExtraError
from qcs.models import dlib_file

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(dlib_file.MODULE) is None, reason="needs the package face-recognition-models"
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of that name whose import fails; the path of its weights file, which is not there yet."""
    folder = tmp_path / "site" / dlib_file.MODULE
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(folder.parent)
    return folder / dlib_file.FILE


@needs_weights
def test_every_layer_of_the_file_arrives() -> None:
    state = dlib_file.convert(dlib_file.installed_file().read_bytes(), load_file(dlib_file.STATISTICS))
    model = timm.create_model("dlib_resnet29")
    model.load_state_dict(state, strict=True)
    assert all(value.isfinite().all() for value in state.values())


@needs_weights
def test_statistics_change_no_value_in_evaluation_mode() -> None:
    data = dlib_file.installed_file().read_bytes()
    with_them, without = (dlib_file.convert(data, x) for x in (load_file(dlib_file.STATISTICS), {}))
    x = torch.randn(1, 256, 4, 4, dtype=torch.float64)

    def normed(state: dict[str, torch.Tensor]) -> torch.Tensor:
        parts = [
            state[f"stages.4.0.norm2.{name}"].double() for name in ("running_mean", "running_var", "weight", "bias")
        ]
        return F.batch_norm(x, *parts, eps=1e-5)

    assert_close(normed(with_them), normed(without), rtol=1e-5, atol=1e-5)


def test_the_statistics_that_ship_cover_every_batch_norm() -> None:
    statistics = load_file(dlib_file.STATISTICS)
    norms = {name: m for name, m in timm.create_model("dlib_resnet29").named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert statistics.keys() == {f"{name}.{kind}" for name in norms for kind in ("mean", "var")}
    assert all(len(statistics[f"{name}.mean"]) == norm.num_features for name, norm in norms.items())
    assert all((statistics[f"{name}.var"] > 0).all() for name in norms)


@needs_weights
def test_the_file_is_converted_once(tmp_path: Path) -> None:
    path = dlib_file.converted_weights(tmp_path)
    written = path.stat().st_mtime_ns
    assert dlib_file.converted_weights(tmp_path) == path and path.stat().st_mtime_ns == written
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"needs face_recognition_models; run: pip install 'qcs-fer\[face-back"):
        timm.create_model("dlib_resnet29", pretrained=True)


def test_a_changed_file_is_refused_and_the_package_never_imported(package: Path) -> None:
    package.write_bytes(b"\x01\x05con_4 changed")
    with pytest.raises(InputError, match=r"is not the expected file \(SHA-256 [0-9a-f]{64}, expected 55533b28"):
        timm.create_model("dlib_resnet29", pretrained=True)
    assert dlib_file.MODULE not in sys.modules


def test_a_package_without_the_file_is_refused(package: Path) -> None:
    with pytest.raises(InputError, match=r"has no models/dlib_face.*; reinstall version 0\.3\.0"):
        dlib_file.installed_file()


def test_weights_named_by_the_caller_need_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import save_file

    monkeypatch.setattr(dlib_file, "installed_file", lambda: pytest.fail("looked for the package"))
    source = timm.create_model("dlib_resnet29")
    save_file(source.state_dict(), tmp_path / "own.safetensors")
    overlay = {"file": str(tmp_path / "own.safetensors")}
    model = timm.create_model("dlib_resnet29", pretrained=True, pretrained_cfg_overlay=overlay)
    assert_close(model.state_dict(), source.state_dict())
