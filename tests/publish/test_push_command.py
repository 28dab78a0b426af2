"""`qcs push` and `qcs models` at the command line: what they write, and one line for what goes wrong."""

from __future__ import annotations

import json
import re
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants
from local_hub import Fault, LocalHub
from rich.console import Console

import qcs
from qcs import cli
from qcs.models import save_model

Run = Callable[..., tuple[object, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The command line in this process, in a folder that holds `weights.safetensors`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    save_model(qcs.create_model("base_nano"), "weights.safetensors")

    def call(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["qcs", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return call


def test_dry_run_writes_the_folder_and_asks_nobody(run: Run, hub: LocalHub) -> None:
    status, out, err = run("push", "weights.safetensors", "me/faces", "--license", "mit", "--dry-run", "look")
    assert (status, out, err) == (0, "wrote look\n", "")
    assert json.loads(Path("look/config.json").read_text())["pretrained_cfg"]["license"] == "mit"
    assert hub.requests == []


def test_push_prints_where_it_published(run: Run, hub: LocalHub) -> None:
    status, out, _ = run("push", "weights.safetensors", "me/faces", "--private", "--revision", "v2")
    repository = hub.repositories["me/faces"]
    assert (status, out) == (0, f"published {hub.url}/me/faces/commit/{repository.branches['v2']}\n")
    assert repository.private
    assert "config.json" not in repository.commits[repository.branches["main"]]


WRONG = {
    "no weights": (("nothing", "me/faces"), None, "no weights found for 'nothing': .*"),
    "name": (
        ("weights.safetensors", "faces"),
        None,
        "expected a repository as ORG/NAME, got 'faces': the owner is missing",
    ),
    "folder in use": (
        ("weights.safetensors", "me/faces", "--dry-run", "."),
        None,
        r"\. is not an empty folder; choose.*",
    ),
    "403": (("weights.safetensors", "me/faces"), Fault("create", 403), "cannot make me/faces: your token does not .*"),
    "503": (
        ("weights.safetensors", "me/faces"),
        Fault("create", 503, times=99),
        r"cannot make me/faces: http://.* has a problem of its own \(503\); try again later",
    ),
    "cut": (
        ("weights.safetensors", "me/faces"),
        Fault("create", times=99),
        r"cannot make me/faces: the connection to http://.* broke off \(.*\); nothing half-done was kept, try again",
    ),
}


@pytest.mark.parametrize(("arguments", "fault", "message"), WRONG.values(), ids=WRONG)
def test_what_goes_wrong_is_one_line(
    run: Run, hub: LocalHub, arguments: tuple[str, ...], fault: Fault | None, message: str
) -> None:
    if fault is not None:
        hub.faults.append(Fault(fault.request, fault.status, times=fault.times))
    status, out, err = run("push", *arguments)
    assert (status, out) == (1, "")
    assert re.fullmatch(f"error: {message}\n", err), err
    assert hub.repositories == {}


def test_offline_prediction_from_the_hub_is_one_line(run: Run, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    Path("face.jpg").touch()
    status, _, err = run("predict", "hf-hub:me/faces", "face.jpg")
    assert status == 1
    assert re.fullmatch(r"error: cannot fetch config\.json of me/faces: offline mode is on .*\n", err), err


def test_models_are_listed_as_a_table_and_as_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcs.cli.models.console", Console(width=200))
    status, out, _ = run("models", "qcs_ir50.ferplus")
    assert status == 0
    (row,) = (line.split() for line in out.splitlines() if line.startswith("qcs_ir50.ferplus"))
    assert row[:7] == ["qcs_ir50.ferplus", "none", "66.81", "M", "40.70", "M", "8.12"]
    assert row[-1] == "91.41%"
    (listed,) = json.loads(run("models", "qcs_ir50.ferplus", "--json")[1])
    assert (listed["name"], listed["parameters"], listed["accuracy"]) == ("qcs_ir50.ferplus", 66_812_051, 0.9141)
    assert listed["classes"][0] == "neutral"
    assert listed["gmacs"] == pytest.approx(8.118, abs=1e-3)
