"""What a run prints: advice on few images, how long it takes, and what cut it short after what share."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
import toy
from rich.console import Console

from qcs.cli.training_display import TrainingDisplay, time_left
from qcs.engine.training import Progress, TrainConfig, train
from qcs.engine.training.progress import TimeLeft
from qcs.engine.training.results import cut_short, few_images


class Lines(Progress):
    """Collects what a run says."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.left: list[TimeLeft] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def step(self, batches: int, means: Any, left: TimeLeft) -> None:
        self.left.append(left)


def test_few_images_and_random_weights_give_a_line_that_names_the_shipped_weights() -> None:
    line = few_images(TrainConfig(data="x"), 1977)
    assert line is not None and "\n" not in line
    assert line.startswith("1,977 training images are few for a network with random weights (below 20,000)")
    assert line.endswith("--init qcs_small")
    assert few_images(TrainConfig(data="x"), 19_999) is not None
    assert few_images(TrainConfig(data="x"), 20_000) is None
    assert few_images(TrainConfig(data="x", init="qcs_small"), 100) is None
    assert few_images(TrainConfig(data="x", model="qcs_any", pretrained_backbone=True), 100) is None


def test_a_run_that_was_cut_short_says_why_and_no_other() -> None:
    assert cut_short(TrainConfig(data="x", epochs=4, minutes=1.0), 4.0, 30) is None
    said = cut_short(TrainConfig(data="x", epochs=4, minutes=0.5), 1.25, 30.1)
    assert said == "the time budget of 0.5 min ended the run after 1.25 of 4 epochs (31.2%)"
    said = cut_short(TrainConfig(data="x", epochs=40, patience=3), 10, 30)
    assert (
        said == "early stopping ended the run after 10 of 40 epochs (25.0%): no better validation accuracy in 3 epochs"
    )


@pytest.mark.slow
def test_the_last_line_of_a_run_says_that_its_time_budget_ended_it(tmp_path: Path) -> None:
    shown = Lines()
    train(toy.settings(output=str(tmp_path / "run"), epochs=10_000, minutes=0.02), toy.splits(), shown)
    pattern = r"the time budget of 0\.02 min ended the run after \S+ of 10000 epochs \(\d+\.\d%\)"
    assert re.fullmatch(pattern, shown.lines[-1])
    assert all(left.budget is not None and 0 <= left.estimate <= left.budget <= 1.2 for left in shown.left)


@pytest.mark.slow
def test_a_run_of_all_epochs_ends_with_its_folder_and_an_estimate_of_no_time(tmp_path: Path) -> None:
    shown = Lines()
    train(toy.settings(output=str(tmp_path / "run")), toy.splits(), shown)
    assert shown.lines[-1] == f"wrote {tmp_path / 'run'}"
    assert shown.left[-1] == TimeLeft(0.0)
    assert shown.left[0].estimate > 0


def test_the_time_left_of_the_whole_run_is_shown_with_every_epoch() -> None:
    text = io.StringIO()
    display = TrainingDisplay(Console(file=text))
    display.start_epoch(1, 4, 10, 0)
    display.step(1, {}, TimeLeft(100.0, 200.0))
    record = dict(epoch=1, validation_accuracy=0.5, validation_balanced_accuracy=0.5, images_per_second=9)
    display.end_epoch(4, record, best=True)
    assert "9 images/s  ETA 0:01:40, 0:03:20 of the budget left  best\n" in text.getvalue()
    assert time_left(TimeLeft(7200.0)) == "ETA 2:00:00"
