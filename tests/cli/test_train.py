"""`qcs train`: options reach their settings, bad input ends in one line, an ended run leaves nothing half written."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from accelerate import Accelerator
from commands import CORRUPTIONS, QUICK, Run, alone, command, contents, fails, images, other_weights, written

import qcs
from qcs.engine.training import TrainConfig
from qcs.engine.training.settings import settings_of


def test_every_option_of_train_reaches_its_setting(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "model": "dcs_nano", "image_root": "images", "output": "out", "init": "run", "epochs": 7, "minutes": 1.5,
        "batch_size": 8, "lr": 0.1, "schedule": "exponential", "lr_decay": 0.9, "sam_rho": 0.2, "fraction": 0.7,
        "balance": "class", "negatives": "class", "resize": 60, "rotation": 3.0, "label_smoothing": 0.1,
        "precision": "fp32", "in_chans": 1, "workers": 2, "seed": 5, "backbone": "resnet18", "layer_decay": 0.7,
        "data_format": "raf_db", "votes": "probability", "class_weights": "inverse", "accumulate": 3, "clip_grad": 0.5,
        "ema": 0.9, "patience": 4, "checkpoint_minutes": 2.0, "crop": "loose", "weight_decay": 0.01, "scale": 0.1,
        "images_per_step": 32, "validation_fraction": 0.2, "teacher_share": 0.3, "optimizer": "sgd", "momentum": 0.8,
        "decay_epochs": 3, "warm_up": 0.1, "lr_floor": 0.2, "half_period": 5, "select_on": "loss",
        "patience_on": "loss",
        "stretch": 0.2, "low_light": 0.3,
        "blur": 1.5, "noise": 4.0,
    }  # fmt: skip
    configs: list[TrainConfig] = []
    monkeypatch.setattr("qcs.engine.training.train", lambda config, progress: configs.append(config))
    options = [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", value)]
    arguments = ["--model-arg", "scope=sample", "--model-arg", "cross_depth=2", "--freeze-backbone", "--soft-labels"]
    arguments += ["--erasing", 0.05, 0.2, "--color-jitter", 0.1, 0.2, 0.3, 0.4, "--teacher", "a", "--teacher", "b"]
    arguments += ["--compile", "--no-pretrained-backbone", "--decay-all", "--objective-arg", "beta=2"]
    assert run("train", "--data", "x.npz", *options, *arguments, "--kl", 1, "--l2", 2).status == 0
    expected = {
        **given,
        "data": "x.npz",
        "model_args": {"scope": "sample", "cross_depth": 2},
        "objective_args": {"beta": 2},
        "decay_all": True,
        "freeze_backbone": True,
        "soft_labels": True,
        "distillation": {"kl": 1, "l2": 2},
        "erasing": (0.05, 0.2),
        "color_jitter": (0.1, 0.2, 0.3, 0.4),
        "teachers": ("a", "b"),
        "compile": True,
        "pretrained_backbone": False,
    }
    alone = {"augmentation"}  # takes the place of others
    assert expected.keys() | alone == {each.name for each in settings_of(TrainConfig)}
    assert configs == [TrainConfig.from_recipe("scratch", **expected)]


def test_a_recipe_of_another_method_and_its_augmentation_reach_the_settings(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[TrainConfig] = []
    monkeypatch.setattr("qcs.engine.training.train", lambda config, progress: configs.append(config))
    chosen = ("--recipe", "ada_df-sfew", "--augmentation", "resize", "--objective-arg", "beta=2")
    assert run("train", "--data", "x.npz", *chosen).status == 0
    assert configs[0].augmentation == "resize" and configs[0].model == "ada_df_resnet18"
    assert configs[0].objective_args == {"threshold": 0.5, "beta": 2}


def test_help_names_units_and_choices(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    text = run("train", "--help").out
    for unit in ("in minutes", "in pixels", "in degrees"):
        assert unit in text
    for each in settings_of(TrainConfig):
        if each.option is not None:
            line = next(line for line in text.splitlines() if f"--{each.option} " in line)
            assert all(str(choice) in line for choice in each.choices), line
            assert each.range is None or f"Range: {each.range}." in line


def test_the_defaults_that_help_names_are_those_of_the_settings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    text = run("train", "--help").out
    config = TrainConfig.from_recipe("scratch", data="x")
    for name in ("validation_fraction", "label_smoothing", "workers", "seed"):
        line = next(line for line in text.splitlines() if f"--{name.replace('_', '-')} " in line)
        assert f"[default: ({getattr(config, name):g})]" in line
    for name in ("in_chans", "resize"):
        line = next(line for line in text.splitlines() if f"--{name.replace('_', '-')} " in line)
        assert f"[default: (that of the weights with --init, else {getattr(config, name):g})]" in line


def test_a_class_of_one_image_gives_one_line_of_warning(run: Run, tmp_path: Path) -> None:
    lonely = ["fear", *np.array(toy.CLASSES)[toy.splits("train")["train"].labels][1:]]
    data = toy.archive(tmp_path / "faces.npz", "train", labels=lonely)
    done = run("train", "--data", data, *QUICK, "--model", "dcs_nano", "--output", "run")
    assert done.status == 0
    assert re.fullmatch(r"warning: PairSampler: only one image in class .*\n", done.err)


def small_archive(folder: Path, **changes: Any) -> Path:
    return toy.archive(folder / "faces.npz", "train", **changes)


def text_list(folder: Path, *rows: str) -> Path:
    return toy.lines(images(folder, "a.png", "b.png") / "list.txt", rows)


def csv_list(folder: Path, *rows: str) -> Path:
    return toy.lines(images(folder, "a.png", "b.png") / "list.csv", rows)


BAD_DATA: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (
        lambda folder: folder / "gone.npz",
        r".*gone\.npz does not exist; expected an \.npz archive, a folder .*",
    ),
    "unknown kind": (
        lambda folder: written(folder / "faces.zip", b""),
        r".*faces\.zip is of an unknown kind; expected .*",
    ),
    "corrupt archive": (
        lambda folder: written(folder / "faces.npz", small_archive(folder).read_bytes()[:500]),
        r"cannot read .*faces\.npz as an \.npz archive of plain arrays: .*",
    ),
    "empty archive": (lambda folder: written(folder / "faces.npz", b""), r"cannot read .*faces\.npz as an \.npz .*"),
    "empty folder": (lambda folder: folder, r".* holds no folders; expected FOLDER/<class>/<image>\.jpg or .*"),
    "images beside each other": (
        lambda folder: images(folder, "a.png"),
        r".* holds no folders; expected FOLDER/<class.*",
    ),
    "folders in class folders": (
        lambda folder: images(folder, "happy/more/a.png"),
        r"class folder .*happy holds no images but the folders more; expected .*; give .*happy as the path",
    ),
    "list of missing images": (
        lambda folder: text_list(folder, "a.png happy", "gone.png sad"),
        r"1 of 2 images missing under .*, first: .*gone\.png; give the folder that the paths in .* are relative to.*",
    ),
    "list without labels": (
        lambda folder: text_list(folder, "a.png happy", "b.png"),
        r".*list\.txt line 2 is 'b\.png'; expected a path, a space and a label",
    ),
    "csv without columns": (
        lambda folder: csv_list(folder, "path,emotion", "a.png,happy"),
        r".*list\.csv lacks the column label; its header is path,emotion; expected path,label and optionally split",
    ),
    "labels from 1": (
        lambda folder: small_archive(folder, labels=np.arange(36) % 3 + 1),
        r".*faces\.npz: labels are numbers from 1 to 3 without 0; expected every number from 0: .*",
    ),
    "label out of range": (
        lambda folder: small_archive(folder, labels=np.arange(36) % 4, classes=toy.CLASSES),
        r".*faces\.npz: label 3 of image 3 \(row 3\) is out of range: expected 0 to 2 \(happy, sad, anger\)",
    ),
    "one class": (
        lambda folder: small_archive(folder, labels=["happy"] * 36),
        r".*faces\.npz has training images of one class only, happy; expected at least two",
    ),
    "no training images": (
        lambda folder: toy.archive(folder / "faces.npz", "test"),
        r".*faces\.npz has no training images; it has the splits test",
    ),
    "one image of each class": (
        lambda folder: images(folder, "happy/a.png", "sad/b.png"),
        "no class has two images to hold one out for validation; give a validation split",
    ),
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_data_that_cannot_be_trained_on(run: Run, tmp_path: Path, kind: str) -> None:
    make, message = BAD_DATA[kind]
    (tmp_path / "data").mkdir()
    data = make(tmp_path / "data")
    before = contents(tmp_path)
    fails(run("train", "--data", data, *QUICK, "--output", "run"), message)
    assert contents(tmp_path) == before
    assert not Path("run").exists()


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_an_unreadable_image_ends_training_by_name(run: Run, tmp_path: Path, corruption: str) -> None:
    data = toy.tree(tmp_path / "faces", "train")
    CORRUPTIONS[corruption](data / "train" / "sad" / "1.png")
    before = contents(tmp_path)
    done = run("train", "--data", data, *QUICK, "--output", "run")
    fails(done, r"cannot read image .*sad/1\.png: .*; replace the file or leave it out of the data")
    assert contents(tmp_path) == before
    assert not Path("run").exists()


BAD_OPTIONS: list[tuple[tuple[object, ...], str]] = [
    (("--model", "qcs_nan"), "unknown model 'qcs_nan'; did you mean qcs_nano.*"),
    (("--model", "qcs_ir50.rafdb"), r"unknown tag 'rafdb' of qcs_ir50; expected one of raf_db, ferplus, .*"),
    (("--model", "ir_nano"), "ir_nano classifies no expressions; train one of the networks that 'qcs models' lists"),
    (
        ("--recipe", "raf"),
        r"unknown recipe 'raf'; (did you mean .*\? All|all) are dcs-raf_db, .*, scratch, and METHOD-DATA .*",
    ),
    (("--epochs", 0), "epochs must be at least 1, got 0"),
    (("--minutes", 0), r"minutes must be above 0, got 0\.0"),
    (("--sam-rho", -0.1), r"sam_rho must be at least 0, got -0\.1"),
    (("--lr", -1), r"lr must be above 0, got -1\.0"),
    (("--lr", "nan"), "lr must be above 0, got nan"),
    (("--seed", -1), "seed must be from 0 to 4,294,967,295, got -1"),
    (("--workers", -1), "workers must be at least 0, got -1"),
    (("--schedule", "step"), "schedule must be one of exponential, cosine, annealing, annealing_steps; got 'step'"),
    (("--precision", "fp16"), "precision must be one of auto, fp32, bf16; got 'fp16'"),
    (("--balance", "all"), "balance must be one of none, class, square-root; got 'all'"),
    (("--negatives", "hard"), "negatives must be one of image, class; got 'hard'"),
    (("--in-chans", 2), "in_chans must be one of 1, 3; got 2"),
    (("--fraction", 2), r"fraction must be above 0 and at most 1, got 2\.0"),
    (("--resize", 0), "resize must be at least 1, got 0"),
    (("--resize", 40), "resize is 40; expected at least 48, the input size of the model"),
    (("--rotation", 200), r"rotation must be from 0 to 180, got 200\.0"),
    (("--label-smoothing", 1), r"label_smoothing must be at least 0 and below 1, got 1\.0"),
    (("--kl", -1), r"distillation takes weights of at least 0 for \('kl', 'l2'\), got 'kl': -1\.0"),
    (("--kl", 1), "distillation needs cross logits; a base network has none.*"),
    (("--batch-size", 1), r"batch_size must be at least 2 \(batch norm needs it in training\), got 1"),
    (("--batch-size", 500), r"no batch in an epoch: 36 anchors \(fraction 1 of 36 images\), but batch_size 500 .*"),
    (("--model-arg", "scope"), "--model-arg takes NAME=VALUE, got 'scope'"),
    (("--model-arg", "scopes=sample"), r"base_nano: .*unexpected keyword argument 'scopes'"),
    (("--model", "qcs_nano", "--model-arg", "scope=image"), ".*scope.*'image'"),
    (("--model-arg", "base_depth=many"), "cannot build base_nano with base_depth='many': .*"),
    (
        ("--model-arg", "grid_size=5"),
        "images of 48 pixels give .* cannot all be halved to a grid of side 5; nearby image sizes that work: 40, 80",
    ),
    (
        ("--init", "gone.safetensors"),
        r"no weights found for 'gone\.safetensors': .*",
    ),
    (("--init", "."), r"\. is not a run folder with weights: it has no best\.safetensors; give a weights file, .*"),
    (("--init", "empty.safetensors"), r"empty\.safetensors is not a readable weights file .*"),
    (("--init", "text.pt"), r"text\.pt is not a readable weights file .*"),
    (("--init", "other.safetensors"), r"other\.safetensors holds no base classifier: expected the weights of .*"),
    (("--output", "text.pt/run"), "cannot write text.pt/run: Not a directory"),
    (
        ("--output", "used"),
        "used already holds a run; choose another output folder, or remove this one: its run has no checkpoint to go "
        "on from",
    ),
]


@pytest.mark.parametrize(
    ("options", "message"), BAD_OPTIONS, ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else ""
)
def test_settings_that_cannot_be_trained_with(
    run: Run, tmp_path: Path, options: Sequence[object], message: str
) -> None:
    data = toy.archive(tmp_path / "faces.npz", "train", "validation")
    written(tmp_path / "empty.safetensors", b"")
    written(tmp_path / "text.pt", b"no weights")
    other_weights(tmp_path)
    written(images(tmp_path / "used", "old.png") / "config.json", b"{}")
    before = contents(tmp_path)
    fails(run("train", "--data", data, *QUICK, "--output", "run", *options), message)
    assert contents(tmp_path) == before
    assert not Path("run").exists()


def test_a_full_disk_is_named_with_the_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: str | Path, target: str | Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    data = toy.archive(tmp_path / "faces.npz", "train")
    before = contents(tmp_path)
    monkeypatch.setattr(os, "replace", full)
    fails(
        run("train", "--data", data, *QUICK, "--output", "run"), "cannot write run/config.json: No space left on device"
    )
    assert contents(tmp_path) == before


def test_a_full_disk_met_by_a_writing_thread_is_one_line_too(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def as_tensorboard_does(self: Accelerator, name: str, **options: object) -> None:
        thread = threading.Thread(target=full)
        thread.start()
        thread.join()
        full()

    monkeypatch.setattr(Accelerator, "init_trackers", as_tensorboard_does)
    data = toy.archive(tmp_path / "faces.npz", "train")
    before = contents(tmp_path)
    done = run("train", "--data", data, *QUICK, "--output", "run")
    fails(done, "cannot write run/tensorboard: No space left on device")
    assert contents(tmp_path) == before


def test_an_interrupt_ends_with_its_own_status(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("qcs.losses.JointLoss.forward", interrupted)
    done = run("train", "--data", toy.archive(tmp_path / "faces.npz", "train"), *QUICK, "--output", "run")
    assert (done.status, done.err) == (130, "error: interrupted\n")
    assert not Path("run").exists()


@pytest.mark.slow
def test_a_process_of_its_own_prints_one_line_even_for_a_loading_process(tmp_path: Path) -> None:
    data = toy.tree(tmp_path / "faces", "train")
    written(data / "train" / "sad" / "1.png", b"")
    done = alone("train", "--data", data, *QUICK, "--workers", 1, "--output", "run", cwd=tmp_path)
    fails(done, r"cannot read image .*sad/1\.png: .*; replace the file or leave it out of the data")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_limit_on_file_size_leaves_no_half_written_weights(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    data = toy.archive(tmp_path / "faces.npz", "train")
    before = contents(tmp_path)
    done = alone("train", "--data", data, *QUICK, "--output", "run", cwd=tmp_path, preexec_fn=limit)
    fails(done, "cannot write a checkpoint to run/checkpoints: .*")
    assert contents(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "line"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_keeps_what_finished_epochs_left(
    tmp_path: Path, number: signal.Signals, status: int, line: str
) -> None:
    data = toy.archive(tmp_path / "faces.npz", "train")
    arguments = ("train", "--data", data, *QUICK, "--epochs", 10_000, "--output", "run")
    process = subprocess.Popen(
        command(*arguments),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "last.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (status, f"error: {line}\n")
    assert out.endswith("resume with: qcs train --resume run\n")
    assert re.search(r"stopped after \S+ of \d+ epochs \(\S+%\); run holds the weights of the finished epochs", out)
    assert not list((tmp_path / "run").glob(".*"))
    shutil.move(tmp_path / "run" / "best.safetensors", tmp_path / "moved.safetensors")
    assert qcs.load_model(tmp_path / "moved.safetensors").class_names == toy.CLASSES


def test_settings_are_shown_as_the_difference_from_the_recipe(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcs.engine.training.train", lambda config, progress: None)
    done = run("train", "--data", "x.npz", "--epochs", 3, "--lr", 1e-3)  # the learning rate is that of the recipe
    line = "settings: recipe scratch with data x.npz, epochs 3; config.json in the run folder lists all\n"
    assert (done.status, done.out) == (0, line)
    done = run("train", "--data", "x.npz", "--init", "qcs_small")
    implied = "model qcs_small, init qcs_small, in_chans 1, resize 54"
    assert done.out.startswith(f"settings: recipe finetune with data x.npz, {implied};")
