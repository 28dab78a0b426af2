"""The command line in this process, and a run to use."""

from __future__ import annotations

import sys
import threading
import warnings
from pathlib import Path

import pytest
import toy
from commands import Outcome, Run

from qcs import cli
from qcs.engine.training import train


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The command line in this process, working in an empty folder."""
    monkeypatch.chdir(tmp_path)
    # `main` sets both for good.
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["qcs", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Outcome(end.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(toy.settings(output=str(folder), epochs=1), toy.splits())
    return folder
