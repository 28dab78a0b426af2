"""A run that was interrupted goes on as if nothing had happened."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from rich.console import Console
from runs import check_equal
from torch import Tensor

from qcs.cli.training_display import TrainingDisplay
from qcs.data import LabeledImages
from qcs.engine.training import results, resume, train, trainer
from qcs.engine.training.checkpoints import Checkpoints
from qcs.errors import InputError
from qcs.losses import JointLoss

ALWAYS = dict(checkpoint_minutes=0.0, epochs=3)  # a checkpoint after every step


class Killed(BaseException):
    """Takes the place of the end of the process."""


def interrupted(
    monkeypatch: pytest.MonkeyPatch, folder: Path, at: int, splits: dict[str, LabeledImages], **changes: Any
) -> None:
    """A run that dies at its `at`-th loss."""
    original, calls = JointLoss.forward, [0]

    def forward(self: JointLoss, *args: Any) -> dict[str, Tensor]:
        calls[0] += 1
        if calls[0] == at:
            raise Killed
        return original(self, *args)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(JointLoss, "forward", forward)
        train(toy.settings(output=str(folder), **{**ALWAYS, **changes}), splits)


@pytest.mark.parametrize(
    ("at", "changes"),
    [
        (3, dict(sam_rho=0.05, workers=1)),
        (9, dict(sam_rho=0.05, accumulate=2, clip_grad=0.5)),
        (9, dict(ema=0.9, class_weights="inverse", rotation=10.0, erasing=(0.1, 0.2))),
        (5, dict(model_args=dict(base_drop_rate=0.3))),
    ],
)
def test_a_resumed_run_ends_with_the_weights_of_one_never_interrupted(
    at: int, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = toy.splits()
    whole = train(toy.settings(output=str(tmp_path / "whole"), **{**ALWAYS, **changes}), splits)
    interrupted(monkeypatch, tmp_path / "pieces", at, splits, **changes)
    check_equal(whole, resume(tmp_path / "pieces", splits))
    assert not (tmp_path / "pieces" / "checkpoints").exists()


@pytest.mark.slow
def test_a_quadruplet_run_resumes_exactly_and_more_than_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits, changes = toy.splits(), dict(model="qcs_nano", model_args=dict(cross_drop_rate=0.2), sam_rho=0.05)
    whole = train(toy.settings(output=str(tmp_path / "whole"), **{**ALWAYS, **changes}), splits)
    interrupted(monkeypatch, tmp_path / "pieces", 4, splits, **changes)
    original, calls = JointLoss.forward, [0]

    def forward(self: JointLoss, *args: Any) -> dict[str, Tensor]:
        calls[0] += 1
        if calls[0] == 6:
            raise Killed
        return original(self, *args)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(JointLoss, "forward", forward)
        resume(tmp_path / "pieces", splits)
    check_equal(whole, resume(tmp_path / "pieces", splits))


def test_a_corrupt_newest_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = toy.splits()
    whole = train(toy.settings(output=str(tmp_path / "whole"), **ALWAYS), splits)
    interrupted(monkeypatch, tmp_path / "pieces", 6, splits)
    newest = max((tmp_path / "pieces" / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    text = io.StringIO()
    check_equal(whole, resume(tmp_path / "pieces", splits, TrainingDisplay(Console(file=text, width=300))))
    assert f"checkpoint {newest.name} is corrupt" in text.getvalue()
    assert "resumed after 4 steps, in epoch " in text.getvalue()


def test_the_log_shows_every_epoch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    splits = toy.splits()
    interrupted(monkeypatch, tmp_path / "run", 9, splits)
    result = resume(tmp_path / "run", splits)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert (
        [event.step for event in events.Scalars("validation_accuracy")]
        == [1, 2, 3]
        == list(range(1, len(result.history) + 1))
    )


def test_what_cannot_be_resumed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = toy.splits()
    with pytest.raises(InputError, match=r"nowhere is not a run folder: it has no config\.json"):
        resume(tmp_path / "nowhere")
    finished = train(toy.settings(output=str(tmp_path / "finished"), epochs=1), splits).folder
    with pytest.raises(InputError, match="finished is a finished run: there is nothing to resume"):
        resume(finished, splits)
    interrupted(monkeypatch, tmp_path / "run", 5, splits)
    fewer = {**splits, "train": splits["train"].subset(range(1, len(splits["train"])))}
    with pytest.raises(InputError, match=r"the data changed since the run began: it has .*'happy': 11"):
        resume(tmp_path / "run", fewer)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(InputError, match="no checkpoint to resume from in"):
        resume(tmp_path / "run", splits)
    (tmp_path / "run" / "config.json").write_text('{"config": {"learning": 1}, "images": {"train": {}}}')
    with pytest.raises(InputError, match="unknown settings learning"):
        resume(tmp_path / "run", splits)
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(InputError, match="does not hold the settings of a run"):
        resume(tmp_path / "run", splits)


def test_the_data_must_be_what_the_run_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = toy.splits()
    interrupted(monkeypatch, tmp_path / "run", 5, splits)
    shorter = {**splits, "validation": splits["validation"].subset(range(6))}
    with pytest.raises(InputError, match=r"the data changed since the run began: it has .*'validation'"):
        resume(tmp_path / "run", shorter)
    renamed = {name: LabeledImages(part.images, part.labels, ["x", "y", "z"]) for name, part in splits.items()}
    with pytest.raises(InputError, match="the data changed since the run began"):
        resume(tmp_path / "run", renamed)


def test_an_end_between_checkpoint_and_weights_of_an_epoch_loses_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = toy.splits()
    whole = train(toy.settings(output=str(tmp_path / "whole"), **ALWAYS), splits)

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(results, "save_model", killed)
        train(toy.settings(output=str(tmp_path / "pieces"), **ALWAYS), splits)
    assert not (tmp_path / "pieces" / "last.safetensors").exists()
    check_equal(whole, resume(tmp_path / "pieces", splits))


def test_weights_of_an_epoch_that_came_out_differently_are_not_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qcs.models import load_model, save_model

    splits = toy.splits()
    interrupted(monkeypatch, tmp_path / "run", 14, splits)
    best = tmp_path / "run" / "best.safetensors"
    save_model(load_model(best), best, info={"epoch": 7})
    training = trainer._Training
    monkeypatch.setattr(training, "_save_epoch", lambda self: None)
    with pytest.raises(InputError, match=r"best\.safetensors holds the weights of epoch 7, the best is \d"):
        resume(tmp_path / "run", splits)


def test_a_run_goes_on_without_the_weights_it_started_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = toy.splits()
    first = train(toy.settings(output=str(tmp_path / "first"), epochs=1), splits).folder / "best.safetensors"
    interrupted(monkeypatch, tmp_path / "run", 5, splits, init=str(first))
    first.unlink()
    assert len(resume(tmp_path / "run", splits).history) == 3


def test_a_folder_of_someone_elses_checkpoints_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "mine.pt").touch()
    with pytest.raises(InputError, match="already holds a run"):
        train(toy.settings(output=str(tmp_path)), toy.splits())
    Checkpoints(tmp_path / "checkpoints").discard()
    assert (tmp_path / "checkpoints" / "mine.pt").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", 0.5, r"config\.json was edited since the run began: lr is 0\.5, was 0\.002; put the values back, or"),
        ("seed", 1, "seed is 1, was 0"),
        ("epochs", 9, "epochs is 9, was 3"),
        ("ema", 0.5, r"ema is 0\.5, was 0"),
        ("data", "elsewhere", None),
        ("checkpoint_minutes", 3.0, None),
    ],
)
def test_edited_settings_are_refused_except_where_things_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object, message: str | None
) -> None:
    splits = toy.splits()
    interrupted(monkeypatch, tmp_path / "run", 5, splits)
    config = tmp_path / "run" / "config.json"
    record = json.loads(config.read_text())
    record["config"][name] = value
    config.write_text(json.dumps(record))
    if message is None:
        assert len(resume(tmp_path / "run", splits).history) == 3
        return
    for _ in range(2):  # a refused run can be resumed no less than before
        with pytest.raises(InputError, match=message):
            resume(tmp_path / "run", splits)


def test_another_number_of_threads_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits, threads = toy.splits(), torch.get_num_threads()
    interrupted(monkeypatch, tmp_path / "run", 5, splits)
    config = tmp_path / "run" / "config.json"
    record = json.loads(config.read_text())
    assert record["threads"] == threads
    config.write_text(json.dumps({**record, "threads": 64}))
    text = io.StringIO()
    resume(tmp_path / "run", splits, TrainingDisplay(Console(file=text, width=300)))
    said = f"the run began otherwise: threads {threads} instead of 64; it goes on, but not with the same bits"
    assert said in text.getvalue().splitlines()


def test_a_second_run_in_the_folder_is_refused_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits, refused = toy.splits(), []
    whole = train(toy.settings(output=str(tmp_path / "whole"), **ALWAYS), splits)
    interrupted(monkeypatch, tmp_path / "run", 5, splits)

    class Meanwhile(TrainingDisplay):
        def step(self, *_: Any) -> None:
            for start in (
                lambda: resume(tmp_path / "run", splits),
                lambda: train(toy.settings(output=str(tmp_path / "run")), splits),
            ):
                if len(refused) < 4:
                    with pytest.raises(InputError, match="run is in use by another run"):
                        start()
                    refused.append(start)

    check_equal(whole, resume(tmp_path / "run", splits, Meanwhile(Console(file=io.StringIO()))))
    assert len(refused) == 4 and not (tmp_path / "run" / ".lock").exists()


def test_a_run_whose_folder_is_removed_ends_with_one_line_and_no_advice(tmp_path: Path) -> None:
    text = io.StringIO()

    class Remover(TrainingDisplay):
        def step(self, *_: Any) -> None:
            shutil.rmtree(tmp_path / "run", ignore_errors=True)

    with pytest.raises(OSError, match=r"the run folder .*run was removed or renamed while the run wrote to it"):
        train(toy.settings(output=str(tmp_path / "run"), **ALWAYS), toy.splits(), Remover(Console(file=text)))
    assert "resume" not in text.getvalue() and not (tmp_path / "run").exists()
