"""The commands that train: `train` and `demo`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from qcs.cli.shared import DataFormat, ImageRoot, console, interruptible, setting
from qcs.errors import InputError
from qcs.imports import require


def train(
    data: Annotated[
        str | None, setting("Images: .npz archive, folder per class, or .txt/.lst/.csv list.", "the resumed run's")
    ] = None,
    model: Annotated[str | None, setting("Network, see 'qcs models'.", "the recipe's; qcs_nano for nano")] = None,
    recipe: Annotated[str | None, setting("Settings to start from; what follows replaces its values.", "nano")] = None,
    settings: Annotated[str | None, setting("JSON file of settings, as a run's config.json.", "none")] = None,
    resume: Annotated[str | None, setting("Run folder to go on with, by its own settings alone.", "none")] = None,
    image_root: ImageRoot = None,
    data_format: DataFormat = None,
    crop: Annotated[
        str | None,
        setting("How the faces are cut out: fer2013, arcface or loose.", "by the log of 'qcs data align', where it is"),
    ] = None,
    votes: Annotated[str | None, setting("How FERPlus votes of training images become labels.", "majority")] = None,
    soft_labels: Annotated[bool | None, setting("Train on the shares of votes instead of one label.", "no")] = None,
    teacher: Annotated[
        list[str] | None, setting("Weights of a trained network that has a say in the targets; repeatable.", "none")
    ] = None,
    teacher_share: Annotated[float | None, setting("Weight of the teachers in the targets, 0 to 1.", "0.5")] = None,
    output: Annotated[str | None, setting("Run folder to create.", "runs/MODEL-DATE-TIME")] = None,
    init: Annotated[str | None, setting("Run folder or weights file to start from.", "fresh weights")] = None,
    backbone: Annotated[str | None, setting("Any timm model, for qcs, dcs or base.", "the network's own")] = None,
    pretrained_backbone: Annotated[
        bool | None, setting("Start with timm's weights of the backbone.", "fresh weights")
    ] = None,
    freeze_backbone: Annotated[bool | None, setting("Train all but the backbone.", "train everything")] = None,
    epochs: Annotated[int | None, setting("Passes over the sampled anchors.")] = None,
    minutes: Annotated[float | None, setting("Time budget of the training loop, in minutes.", "none")] = None,
    batch_size: Annotated[int | None, setting("Anchors per step, each with its companions.")] = None,
    lr: Annotated[float | None, setting("Learning rate at the start.")] = None,
    schedule: Annotated[str | None, setting("exponential or cosine.")] = None,
    lr_decay: Annotated[float | None, setting("Factor per epoch, exponential schedule.", "0.98")] = None,
    layer_decay: Annotated[float | None, setting("Learning rate's factor per layer towards the stem.", "1")] = None,
    weight_decay: Annotated[float | None, setting("Decoupled weight decay (AdamW).", "0")] = None,
    sam_rho: Annotated[float | None, setting("Radius of SAM; 0 switches it off.")] = None,
    fraction: Annotated[float | None, setting("Share of the set used as anchors per epoch, 0 to 1.")] = None,
    balance: Annotated[str | None, setting("Anchors: none (shuffle) or class (balanced).")] = None,
    negatives: Annotated[str | None, setting("Negatives uniform over: image or class.")] = None,
    resize: Annotated[int | None, setting("Side in pixels before the random crop.")] = None,
    rotation: Annotated[float | None, setting("Largest random rotation, in degrees.")] = None,
    scale: Annotated[float | None, setting("Largest random change of size, relative, from 0 to below 1.")] = None,
    kl: Annotated[float | None, setting("Weight of KL distillation, cross to base.", "0")] = None,
    l2: Annotated[float | None, setting("Weight of L2 distillation, cross to base.", "0")] = None,
    label_smoothing: Annotated[float | None, setting("Share of a label spread over all, 0 to 1.", "0")] = None,
    class_weights: Annotated[str | None, setting("Weights of classes in the loss: none or inverse.", "none")] = None,
    accumulate: Annotated[int | None, setting("Batches per optimiser step.", "1")] = None,
    clip_grad: Annotated[float | None, setting("Largest norm of the gradient.", "any")] = None,
    ema: Annotated[float | None, setting("Decay per step of averaged weights, 0 to 1.", "0: no average")] = None,
    patience: Annotated[int | None, setting("Epochs without improvement before the end.", "all epochs")] = None,
    checkpoint_minutes: Annotated[float | None, setting("Minutes between checkpoints in an epoch.", "5")] = None,
    precision: Annotated[str | None, setting("fp32, bf16 (autocast), or auto: bf16 where it is native.")] = None,
    compile: Annotated[bool | None, setting("Compile the network: slow start, faster steps.", "no")] = None,
    in_chans: Annotated[int | None, setting("Channels inside the network, 3 or 1 (grey).", "3")] = None,
    model_arg: Annotated[
        list[str] | None, setting("Argument of the network as NAME=VALUE, as scope=sample; repeatable.", "none")
    ] = None,
    workers: Annotated[int | None, setting("Processes that load images; 0 loads in the main one.", "0")] = None,
    seed: Annotated[int | None, setting("Decides weights, sampling and augmentation.", "0")] = None,
) -> None:
    """Train a network and leave weights, metrics and pictures in a run folder."""
    given = {name: value for name, value in locals().items() if value is not None}
    if resume is not None and len(given) > 1:
        others = ", ".join(f"--{name.replace('_', '-')}" for name in given if name != "resume")
        raise typer.BadParameter(f"--resume goes on with the run's own settings; leave out {others}")
    for name in ("recipe", "settings", "resume", "kl", "l2", "model_arg", "teacher"):
        given.pop(name, None)
    weights = {name: value for name, value in (("kl", kl), ("l2", l2)) if value}
    if weights:
        given["distillation"] = weights
    if teacher:
        given["teachers"] = tuple(teacher)
    if model_arg:
        given["model_args"] = dict(map(_model_argument, model_arg))
    require("accelerate", "tensorboard", "torchmetrics", "matplotlib", extra="train")
    from qcs.engine import training

    with interruptible():
        if resume is not None:
            training.resume(resume, console=console)
            return
        given = {**(_settings_in(settings) if settings is not None else {}), **given}
        if "data" not in given:
            raise typer.BadParameter("no images to train on: give --data, or --resume a run")
        if backbone is not None:
            given.setdefault("model", "qcs_any")  # the recipe's network has a backbone of its own
        training.train(training.TrainConfig.from_recipe(recipe or "nano", **given), console=console)


def demo(
    output: Annotated[str, typer.Option(help="Folder to create.")] = "demo",
    minutes: Annotated[float, typer.Option(help="Time limit of each of the two trainings, in minutes.")] = 2.25,
) -> None:
    """Train base_nano and qcs_nano on drawn faces, compare them and draw what they look at."""
    require("accelerate", "tensorboard", "torchmetrics", "matplotlib", extra="demo")
    from qcs.cli.demo import run_demo

    with interruptible():
        run_demo(Path(output), minutes, console)


def _model_argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"--model-arg takes NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:  # a word needs no quotes
        return name, value


def _settings_in(file: str) -> dict[str, Any]:
    """Settings in a JSON file: by name, or as a run's config.json has them."""
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} holds a {type(content).__name__}, expected settings by name")
    settings = content.get("config", content)
    if not isinstance(settings, dict):
        raise InputError(f"{file} holds a {type(settings).__name__} as its config, expected settings by name")
    return settings
