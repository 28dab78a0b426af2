"""Signals end a training after its step, with a checkpoint from which it goes on to the same weights."""

from __future__ import annotations

import io
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toy
from rich.console import Console
from runs import check_equal
from torch import Tensor

from qcs.cli.training_display import TrainingDisplay
from qcs.engine.training import resume, train, trainer
from qcs.engine.training.stopping import Stopped, StopSignals
from qcs.losses import JointLoss

SIGNALS = (signal.SIGINT, signal.SIGTERM)
RARELY = dict(epochs=3, checkpoint_minutes=60.0, sam_rho=0.05, ema=0.9)  # checkpoints at the ends of epochs


@pytest.fixture(autouse=True)
def _signals_are_not_ignored() -> Iterator[None]:
    """A shell starts background jobs with SIGINT ignored, which a training leaves as it is."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def raise_at(monkeypatch: pytest.MonkeyPatch, number: int, *calls: int) -> None:
    """Send a signal in these calls of the loss, counted from 1: in the middle of a step."""
    original, count = JointLoss.forward, [0]

    def forward(self: JointLoss, *args: Any) -> dict[str, Tensor]:
        count[0] += 1
        if count[0] in calls:
            signal.raise_signal(number)
        return original(self, *args)

    monkeypatch.setattr(JointLoss, "forward", forward)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_saves_the_step_it_came_in_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    splits, folder = toy.splits(), tmp_path / "pieces"
    whole = train(toy.settings(output=str(tmp_path / "whole"), **RARELY), splits)
    before, text = signal.getsignal(number), io.StringIO()
    with monkeypatch.context() as patch, pytest.raises(Stopped) as stopped:
        raise_at(patch, number, 3)  # the first pass of SAM in the second step
        train(toy.settings(output=str(folder), **RARELY), splits, TrainingDisplay(Console(file=text, width=300)))
    assert stopped.value.signal == number and signal.getsignal(number) is before
    assert [path.name[:15] for path in (folder / "checkpoints").iterdir()] == ["step-0000000002"]
    last = text.getvalue().splitlines()[-1]
    assert last == f"stopped after 0.333 of 3 epochs (11.1%); resume with: qcs train --resume {folder}"
    check_equal(whole, resume(folder, splits))


def test_a_signal_during_evaluation_ends_the_run_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits, original = toy.splits(), trainer.evaluate
    whole = train(toy.settings(output=str(tmp_path / "whole"), **RARELY), splits)

    def evaluate(*args: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return original(*args)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(trainer, "evaluate", evaluate)
        train(toy.settings(output=str(tmp_path / "pieces"), **RARELY), splits)
    assert (tmp_path / "pieces" / "last.safetensors").exists()
    check_equal(whole, resume(tmp_path / "pieces", splits))


def test_a_second_signal_ends_a_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raise_at(monkeypatch, signal.SIGINT, 5, 6)
    with pytest.raises(Stopped):
        train(toy.settings(output=str(tmp_path / "run"), epochs=3, sam_rho=0.05), toy.splits())
    assert list(tmp_path.iterdir()) == []  # no checkpoint, so no folder


def test_signals_that_the_program_handles_or_ignores_are_left_to_it() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM] and stop.received is None


def test_in_another_thread_signals_are_left_alone() -> None:
    found: list[object] = []

    def enter() -> None:
        with StopSignals():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]
