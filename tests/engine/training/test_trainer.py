"""Training end to end on small sets: what is left in the run folder, what decides it, and how it ends early."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from PIL import Image
from rich.console import Console
from torch import Tensor, nn

import qcs
from qcs.cli.training_display import TrainingDisplay
from qcs.data import LabeledImages
from qcs.engine import Evaluation, evaluate
from qcs.engine.training import RunResult, TrainConfig, train, trainer
from qcs.errors import InputError
from qcs.losses import JointLoss
from qcs.models.weights import read_config

TEST_FILES = {"test.json", "test_predictions.npz"}
FILES = {
    "config.json",
    "metrics.json",
    "tensorboard",
    "best.safetensors",
    "last.safetensors",
    "validation.json",
    "confusion.png",
    "curves.png",
}
CLOCK = {"seconds", "images_per_second"}


def run(output: Path, splits: dict[str, LabeledImages] | None = None, **changes: Any) -> RunResult:
    return train(toy.settings(output=str(output), **changes), splits or toy.splits())


def without_clock(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{key: value for key, value in record.items() if key not in CLOCK} for record in history]


# What is left


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["archive", "folder per class", "list"])
def test_each_kind_of_data_ends_in_a_complete_run_folder(tmp_path: Path, kind: str) -> None:
    kinds: dict[str, Callable[[], Path]] = {
        "archive": lambda: toy.archive(tmp_path / "squares.npz"),
        "folder per class": lambda: toy.tree(tmp_path / "images"),
        "list": lambda: toy.table(tmp_path / "list.csv"),
    }
    config = toy.settings(kinds[kind](), model="qcs_nano", output=str(tmp_path / "run"), fraction=0.5)
    result = train(config)
    assert result.folder == tmp_path / "run"
    assert {path.name for path in result.folder.iterdir()} == FILES | TEST_FILES
    check_configuration(result.folder, config)
    check_metrics(result)
    for name, count in (("validation", 12), ("test", 15)):
        record = json.loads((result.folder / f"{name}.json").read_text())
        evaluation = getattr(result, name)
        assert record == {"best_epoch": result.best_epoch, **evaluation.to_dict()}
        assert np.sum(record["confusion"]) == count
    for picture in ("confusion.png", "curves.png"):
        with Image.open(result.folder / picture) as image:
            assert min(image.size) > 300
    assert len(list((result.folder / "tensorboard").rglob("events.out.tfevents.*"))) >= 1


def check_configuration(folder: Path, config: TrainConfig) -> None:
    record = json.loads((folder / "config.json").read_text())
    assert record["config"] == json.loads(json.dumps(dataclasses.asdict(config)))
    assert record["images"]["test"] == {"happy": 5, "sad": 5, "anger": 5}
    assert (record["anchors_per_step"], record["precision"], record["processes"]) == (6, "fp32", 1)
    assert record["model_args"]["branches"] == 4
    assert record["versions"]["qcs"] == qcs.__version__


def check_metrics(result: RunResult) -> None:
    history = json.loads((result.folder / "metrics.json").read_text())
    assert history == result.history
    assert [record["epoch"] for record in history] == [1, 2]
    for record in history:
        assert 0 < record["train_base_loss"] < 5
        assert 0 < record["train_cross_loss"] < 5
        assert record["train_loss"] == pytest.approx((record["train_base_loss"] + record["train_cross_loss"]) / 2)
        for name in ("train_base_accuracy", "train_cross_accuracy", "validation_accuracy"):
            assert 0 <= record[name] <= 1
    for name in ("best", "last"):
        info = read_config(result.folder / f"{name}.safetensors")["info"]
        assert info.pop("crop") is None  # of faces that nobody cut out
        assert info in history


def test_tensorboard_holds_the_same_numbers_as_the_metrics(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = run(tmp_path / "run")
    (file,) = (result.folder / "tensorboard").rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file)).Reload()
    for name in ("train_base_loss", "validation_accuracy", "learning_rate"):
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        assert logged == [(record["epoch"], pytest.approx(record[name], rel=1e-6)) for record in result.history]


def test_data_without_a_test_split_leaves_no_test_result(tmp_path: Path) -> None:
    result = run(tmp_path / "run", toy.splits("train", "validation"))
    assert result.test is None
    assert {path.name for path in result.folder.iterdir()} == FILES


@pytest.mark.slow
@pytest.mark.parametrize("model", ["base_nano", "dcs_nano", "qcs_nano"])
def test_what_can_be_learned_is_learned(tmp_path: Path, model: str) -> None:
    result = run(tmp_path / "run", model=model, epochs=5)
    losses = [record["train_loss"] for record in result.history]
    assert losses[-1] < 0.5 * losses[0]
    assert result.test is not None
    assert result.test.accuracy > 0.8


# What decides it


@pytest.mark.slow
def test_the_seed_decides_the_whole_run(tmp_path: Path) -> None:
    augmented = dict(rotation=10.0, resize=52, erasing=(0.02, 0.1), workers=1, fraction=0.7)
    first, again, other = (
        without_clock(run(tmp_path / str(number), seed=seed, **augmented).history)
        for number, seed in enumerate((1, 1, 2))
    )
    assert first == again
    assert first[0]["train_loss"] != other[0]["train_loss"]


def spy_on_evaluate(monkeypatch: pytest.MonkeyPatch, accuracies: list[float] | None = None) -> list[int]:
    """Sizes of the sets that training evaluates, in turn; `accuracies` replace those of validation sets."""
    sizes: list[int] = []

    def spy(model: nn.Module, batches: Any, classes: tuple[str, ...], *others: Any) -> Evaluation:
        sizes.append(len(batches.dataset))
        if accuracies is None or len(sizes) > len(accuracies):
            return evaluate(model, batches, classes, *others)
        right = round(100 * accuracies[len(sizes) - 1])
        return Evaluation(np.diag([right, 0, 0]) + np.diag([100 - right, 0], 1), 1.0, classes)

    monkeypatch.setattr(trainer, "evaluate", spy)
    return sizes


def test_the_best_epoch_is_the_first_of_highest_validation_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy_on_evaluate(monkeypatch, [0.2, 0.9, 0.9, 0.5])
    result = run(tmp_path / "run", epochs=4)
    assert result.best_epoch == 2
    assert read_config(result.folder / "best.safetensors")["info"]["epoch"] == 2
    assert read_config(result.folder / "last.safetensors")["info"]["epoch"] == 4


def test_test_images_are_looked_at_once_after_the_model_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = spy_on_evaluate(monkeypatch)
    run(tmp_path / "run", epochs=3)
    assert sizes == [12, 12, 12, 12, 15]


def test_other_test_images_change_nothing_but_the_test_result(tmp_path: Path) -> None:
    given = toy.splits()
    wrong = LabeledImages(given["test"].images, (given["test"].labels + 1) % 3, toy.CLASSES)
    first = run(tmp_path / "first", given, epochs=3)
    second = run(tmp_path / "second", {**given, "test": wrong}, epochs=3)
    assert without_clock(first.history) == without_clock(second.history)
    assert first.best_epoch == second.best_epoch
    assert first.test is not None
    assert second.test is not None
    assert first.test.confusion.tolist() != second.test.confusion.tolist()


def test_the_result_is_that_of_the_best_weights(tmp_path: Path) -> None:
    from qcs.engine.weights_evaluation import evaluate_weights

    data = toy.archive(tmp_path / "squares.npz")
    result = train(toy.settings(data, output=str(tmp_path / "run"), resize=52))
    assert result.history[result.best_epoch - 1]["validation_accuracy"] == result.validation.accuracy
    assert result.history[result.best_epoch - 1]["validation_loss"] == pytest.approx(result.validation.loss, rel=1e-5)
    for split, expected in (("validation", result.validation), ("test", result.test)):
        again = evaluate_weights(str(tmp_path / "run"), str(data), split).evaluation
        assert expected is not None
        assert again.to_dict() == expected.to_dict()


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (("train", "validation"), "the model is chosen on the validation split of the data, never on test images"),
        (("train", "test"), "the model is chosen on 10% of the training images, held out per class, never on test"),
    ],
)
def test_the_output_says_what_the_model_is_chosen_on_in_unbroken_lines(
    tmp_path: Path, names: tuple[str, ...], line: str
) -> None:
    text = io.StringIO()
    config = toy.settings(output=str(tmp_path / "run [/of] a very long name to be broken"), epochs=1)
    train(config, toy.splits(*names), TrainingDisplay(Console(file=text, width=40)))
    assert line in text.getvalue()
    assert f"run folder {config.output}\n" in text.getvalue()
    (epoch,) = (line for line in text.getvalue().splitlines() if line.startswith("epoch"))
    assert "images/s" in epoch


def record_rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Learning rates of the optimizer's steps."""
    rates: list[float] = []
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    return rates


def test_the_exponential_schedule_is_the_published_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = record_rates(monkeypatch)
    result = run(tmp_path / "run", epochs=3, lr=1e-4)
    per_epoch = [pytest.approx(1e-4 * 0.98**epoch, rel=1e-12) for epoch in range(3)]
    assert rates == [rate for rate in per_epoch for _ in range(6)]
    assert [record["learning_rate"] for record in result.history] == per_epoch


def test_the_cosine_schedule_starts_at_zero_and_ends_near_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = record_rates(monkeypatch)
    run(tmp_path / "run", epochs=5, lr=1e-4, schedule="cosine")
    assert len(rates) == 30
    assert rates[0] == 0
    assert max(rates) > 0.98e-4
    assert 0 < rates[-1] < 1e-6


def test_sam_takes_a_second_pass_uphill_and_costs_none_when_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = count_losses(monkeypatch)
    run(tmp_path / "on", epochs=1, sam_rho=0.05)
    assert len(losses) == 12
    assert sum(losses[1::2]) > sum(losses[::2])
    losses.clear()
    run(tmp_path / "off", epochs=1, sam_rho=0.0)
    assert len(losses) == 6


def count_losses(monkeypatch: pytest.MonkeyPatch, fail_at: int | None = None, error: Any = None) -> list[float]:
    """Losses as they are computed; optionally one of them fails instead."""
    losses: list[float] = []
    original = JointLoss.forward

    def forward(self: JointLoss, out: Any, labels: Tensor) -> dict[str, Tensor]:
        if len(losses) == fail_at:
            raise error
        computed = original(self, out, labels)
        losses.append(computed["loss"].item())
        return computed

    monkeypatch.setattr(JointLoss, "forward", forward)
    return losses


def test_every_epoch_draws_other_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[int]] = []
    original = JointLoss.forward

    def forward(self: JointLoss, out: Any, labels: Tensor) -> dict[str, Tensor]:
        drawn.append(labels.flatten().tolist())
        return original(self, out, labels)

    monkeypatch.setattr(JointLoss, "forward", forward)
    run(tmp_path / "run", epochs=2)
    assert len(drawn) == 12
    assert drawn[:6] != drawn[6:]


def test_one_process_may_train_in_several_precisions(tmp_path: Path) -> None:
    for precision in ("fp32", "bf16", "fp32"):
        result = run(tmp_path / str(len(list(tmp_path.iterdir()))), precision=precision, epochs=1)
        assert json.loads((result.folder / "config.json").read_text())["precision"] == precision
        assert np.isfinite(result.history[0]["train_loss"])


ON_EVERY_PROCESS = """
import sys
import toy
from qcs.cli.training_display import TrainingDisplay
from qcs.engine.training import train
from rich.console import Console
settings = toy.settings(output=sys.argv[1], epochs=100, minutes=0.02)
result = train(settings, toy.splits(), TrainingDisplay(Console()))
assert result.test.images == 15
print("loss", result.validation.loss)
"""


@pytest.mark.slow
def test_two_processes_train_one_network_and_end_together(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(ON_EVERY_PROCESS)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    paths = {"PYTHONPATH": os.pathsep.join((str(Path(toy.__file__).parent), str(Path(qcs.__file__).parents[1])))}
    environment = {**os.environ, **paths, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, str(tmp_path / "run")], env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    losses = [line for line in done.stdout.splitlines() if line.startswith("loss")]
    assert len(losses) == 2
    assert losses[0] == losses[1]
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES | TEST_FILES
    assert done.stdout.count("run folder") == 1


@pytest.mark.slow
def test_compiled_a_run_learns_the_same(tmp_path: Path) -> None:
    """By the real compiler, the whole network: comparisons, batch norm per branch, both passes of SAM."""
    changes: dict[str, Any] = dict(model="qcs_nano", epochs=1, sam_rho=0.05)
    plain = run(tmp_path / "plain", **changes)
    compiled = run(tmp_path / "compiled", **changes, compile=True)
    (expected,), (found,) = plain.history, compiled.history
    losses = [name for name in expected if name.endswith("loss")]
    assert len(losses) == 5
    assert [found[name] for name in losses] == pytest.approx([expected[name] for name in losses], rel=1e-3)


def test_a_network_of_grayscale_images_is_trained_on_color_images(tmp_path: Path) -> None:
    data = toy.archive(tmp_path / "color.npz", "train", images=np.stack([toy.squares()[0]] * 3, -1))
    result = train(toy.settings(data, in_chans=1, output=str(tmp_path / "run")))
    assert qcs.load_model(result.folder / "best.safetensors").pretrained_cfg["input_size"] == (1, 48, 48)


# How it ends early


@pytest.mark.parametrize("minutes", [0.1, 1e-9])
def test_a_time_budget_ends_the_run_with_its_schedule(tmp_path: Path, minutes: float) -> None:
    result = run(tmp_path / "run", epochs=10_000, minutes=minutes, schedule="cosine")
    assert 1 <= len(result.history) < 1000
    assert all("train_base_loss" in record for record in result.history)
    assert result.history[-1]["seconds"] < 60 * minutes + 5
    if minutes > 0.001:  # the schedule follows the clock, and a busy machine takes few steps in the time
        assert result.history[-1]["learning_rate"] < max(r["learning_rate"] for r in result.history)
    assert (result.folder / "curves.png").exists()


def test_the_time_is_up_after_a_step_not_after_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = count_losses(monkeypatch)
    run(tmp_path / "run", minutes=1e-9)
    assert len(losses) == 1


def test_a_loss_that_is_no_number_ends_the_run_with_advice(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"the loss became (nan|inf) in step \d; try a smaller learning rate than 1e\+30, or clip"
    ):
        run(tmp_path / "run", lr=1e30)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("bad image"), OSError("no space left")])
def test_an_end_in_the_first_epoch_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    count_losses(monkeypatch, 3, error)
    with pytest.raises(type(error)):
        run(tmp_path / "runs" / "first")
    assert list(tmp_path.rglob("*")) == [tmp_path / "runs"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("bad image")])
def test_an_end_in_a_later_epoch_leaves_the_weights_of_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    count_losses(monkeypatch, 15, error)
    text = io.StringIO()
    with pytest.raises(type(error)):
        train(toy.settings(output=str(tmp_path / "run"), epochs=9), toy.splits(), TrainingDisplay(Console(file=text)))
    folder = tmp_path / "run"
    said = f"{folder} holds the weights of the finished epochs; resume with: qcs train --resume {folder}\n"
    (last,) = text.getvalue().splitlines()[-1:]
    assert last + "\n" == f"stopped after 2.5 of 9 epochs (27.8%); {said}"
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.json",
        "metrics.json",
        "tensorboard",
        "best.safetensors",
        "last.safetensors",
        "checkpoints",
    }
    assert len(json.loads((tmp_path / "run" / "metrics.json").read_text())) == 2
    for name in ("best", "last"):
        assert qcs.load_model(tmp_path / "run" / f"{name}.safetensors").class_names == toy.CLASSES


def test_a_used_run_folder_is_refused_and_stays_as_it_was(tmp_path: Path) -> None:
    run(tmp_path / "run", epochs=1)
    before = contents(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="already holds a run; choose another output folder"):
        run(tmp_path / "run", epochs=1)
    assert contents(tmp_path.rglob("*")) == before


def contents(paths: Iterable[Path]) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in paths if path.is_file()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 40}, "no batch in an epoch: 36 anchors .* batch_size 40"),
        ({"fraction": 0.0}, "fraction must be above 0 and at most 1"),
        ({"resize": 40}, "resize is 40; expected at least 48, the input size of the model"),
        ({"rotation": 200.0}, "rotation must be from 0 to 180"),
        ({"in_chans": 2}, "in_chans must be one of 1, 3; got 2"),
        ({"distillation": {"mse": 1.0}}, "distillation takes weights .* got 'mse'"),
        ({"distillation": {"kl": 1.0}}, "distillation needs cross logits"),
        ({"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1"),
    ],
)
def test_settings_that_do_not_go_together_leave_no_folder(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(tmp_path / "run", **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_class_of_one_image_is_trained_on_with_one_warning(tmp_path: Path) -> None:
    given = toy.splits("train")["train"]
    lonely = given.subset(np.flatnonzero((given.labels != 2) | (np.arange(36) == 2)))
    with pytest.warns(UserWarning, match="only one image in class") as caught:
        result = run(tmp_path / "run", {"train": lonely}, model="dcs_nano", epochs=2)
    assert len([w for w in caught if "only one image" in str(w.message)]) == 1
    assert len(result.history) == 2
