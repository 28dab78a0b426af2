"""`qcs export`: what it writes and says, and that what cannot be exported ends in one line with nothing written."""

from __future__ import annotations

import re
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import toy

import qcs
from qcs import cli
from qcs.export import load_export
from qcs.models import save_model

Run = Callable[..., tuple[object, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The command in this process, in a folder that holds the weights `nano.safetensors` alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr("qcs.cli.export.BATCHES", (1,))
    save_model(qcs.create_model("qcs_nano", num_classes=3).eval(), "nano.safetensors")

    def call(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["qcs", "export", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return call


def test_it_writes_the_file_and_says_how_far_how_large_and_how_fast(run: Run) -> None:
    status, out, err = run("nano.safetensors", "--format", "torch-export")
    assert (status, err) == (0, "")
    wrote, difference, latency = out.splitlines()
    assert re.fullmatch(r"wrote qcs_nano-fp32\.pt2 \(\d\.\d MB; 6 batch norms folded\)", wrote)
    assert re.fullmatch(
        r"largest difference \S+ on logits up to \S+ \(accepted: \S+\), same class for 100\.0%", difference
    )
    assert re.fullmatch(r"batch 1: \S+ ms, eager PyTorch \S+ ms, \S+ times as fast", latency)
    assert load_export("qcs_nano-fp32.pt2").metadata["precision"] == "fp32"


@pytest.mark.slow
def test_int8_is_calibrated_on_any_data_that_training_takes(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    options = ("--precision", "int8", "--calibration", toy.archive(tmp_path / "faces.npz"), "--output", "to/small.xml")
    status, out, err = run("nano.safetensors", "--format", "openvino", *options)
    assert (status, err) == (0, "")
    assert out.startswith("wrote to/small.xml (")
    assert sorted(path.name for path in Path("to").iterdir()) == ["small.bin", "small.xml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone.safetensors",), r"no weights found for 'gone\.safetensors': .*"),
        (("nano.safetensors", "--format", "coreml"), "format must be one of onnx, .*; got 'coreml'"),
        (
            ("nano.safetensors", "--precision", "bf16"),
            "onnx is not exported in bf16; formats that are: openvino, torch-export",
        ),
        (("nano.safetensors", "--format", "torch-export", "--output", "a.onnx"), r"a file of format torch-export .*"),
        (
            ("nano.safetensors", "--format", "openvino", "--precision", "int8", "--calibration", "gone.npz"),
            r"gone\.npz does not exist; .*",
        ),
        (("nano.safetensors", "--format", "torch-export", "--output", "nano.safetensors/a.pt2"), ".*nano.*"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_exported_ends_in_one_line(run: Run, arguments: tuple[str, ...], message: str) -> None:
    if "openvino" in arguments:
        pytest.importorskip("openvino")
        pytest.importorskip("nncf")
    status, out, err = run(*arguments)
    assert (status, out) == (1, "")
    assert re.fullmatch(rf"error: {message}\n", err), err
    assert [path.name for path in Path().iterdir()] == ["nano.safetensors"]
