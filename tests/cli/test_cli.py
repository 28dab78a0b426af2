"""The command line: good input works, bad input ends in one clear line, a status that is not 0, and nothing written."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import toy
from commands import QUICK, Run, contents, fails, images, other_weights, written


@pytest.mark.slow
def test_train_evaluate_and_predict_work_together(run: Run, tmp_path: Path) -> None:
    data = toy.tree(tmp_path / "faces")
    done = run("train", "--data", data, *QUICK, "--output", "first", "--kl", 0.5, "--model", "dcs_nano", "--seed", 3)
    assert (done.status, done.err) == (0, "")
    assert "run folder first\n" in done.out
    config = json.loads(Path("first/config.json").read_text())["config"]
    assert (config["distillation"], config["seed"], config["schedule"]) == ({"kl": 0.5}, 3, "cosine")
    done = run("evaluate", "first", "--data", data, "--output", "report")
    assert (done.status, done.err) == (0, "")
    measured = json.loads(Path("report/faces-test.json").read_text())
    del measured["probabilities"], measured["calibration"]
    assert measured.items() <= json.loads(Path("first/test.json").read_text()).items()
    done = run("predict", "first", data / "test", "--no-detect", "--output", "faces.csv")
    assert (done.status, done.err) == (0, "")
    assert len(Path("faces.csv").read_text().splitlines()) == 16


@pytest.mark.parametrize(
    "command", ["train", "evaluate", "calibrate", "predict", "models", "push", "export", "convert", "demo"]
)
def test_help_names_every_option_with_its_default(run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("COLUMNS", "1200")  # an option a line
    done = run(command, "--help")
    assert done.status == 0
    options = [line for line in done.out.splitlines() if re.search(r"--\w", line) and "--help" not in line]
    assert (
        len(options)
        == {
            "train": 66,
            "evaluate": 6,
            "calibrate": 6,
            "predict": 18,
            "models": 2,
            "push": 4,
            "export": 4,
            "convert": 2,
            "demo": 1,
        }[command]
    )
    assert all("[default:" in line or "[required]" in line for line in options)


def test_a_missing_extra_is_named_with_its_remedy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    original = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torchmetrics" else original(name))
    for extra, *arguments in (
        ("train", "train", "--data", "x"),
        ("train", "evaluate", "run", "--data", "x"),
        ("demo", "demo"),
    ):
        fails(run(*arguments), rf"this command needs torchmetrics; run: pip install 'qcs-fer\[{extra}\]'")


def truncated(trained: Path, folder: Path) -> Path:
    return written(folder / "cut.safetensors", (trained / "best.safetensors").read_bytes()[:5000])


BAD_WEIGHTS: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "missing": (
        lambda trained, folder: folder / "gone",
        "no weights found for '.*gone': .*",
    ),
    "folder without": (
        lambda trained, folder: folder,
        r".* is not a run folder with weights: it has no best\.safetensors; .*",
    ),
    "empty": (
        lambda trained, folder: written(folder / "x.safetensors", b""),
        r".*x\.safetensors is not a safetensors .*",
    ),
    "truncated": (truncated, r".*cut\.safetensors is not a safetensors file \(corrupt, or of another format\): .*"),
    "of another format": (
        lambda trained, folder: trained / "config.json",
        r".*config\.json is not a safetensors file .*",
    ),
    "of another program": (
        lambda trained, folder: other_weights(folder),
        r".*other\.safetensors does not say which network it is for; .*",
    ),
}


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_weights_that_cannot_be_used(run: Run, tmp_path: Path, trained: Path, command: str, kind: str) -> None:
    make, message = BAD_WEIGHTS[kind]
    (tmp_path / "weights").mkdir()
    weights = make(trained, tmp_path / "weights")
    if command == "evaluate":
        arguments = (weights, "--data", toy.archive(tmp_path / "faces.npz"))
    else:
        arguments = (tmp_path, "--weights", weights, "--no-detect")
    before = contents(tmp_path)
    fails(run(command, *arguments, "--output", "out.csv"), message)
    assert contents(tmp_path) == before


def test_other_commands_refuse_what_they_cannot_do(run: Run, tmp_path: Path) -> None:
    fails(run("models", "vgg*"), r"no model matches 'vgg\*'; 'qcs models --all' lists all")
    images(tmp_path / "demo", "old.png")
    fails(run("demo"), "demo is not empty; choose another folder with --output, or remove it")


@pytest.mark.parametrize(
    "arguments", [("train",), ("train", "--data", "x", "--epochs", "two"), ("trian",), ("predict", "--weights", "x")]
)
def test_usage_that_is_wrong_ends_with_status_2(run: Run, arguments: Sequence[str]) -> None:
    done = run(*arguments)
    assert done.status == 2
    assert "Usage: qcs" in done.err
    assert "Traceback" not in done.err
