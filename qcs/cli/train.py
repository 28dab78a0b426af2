"""The command `qcs train`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from qcs.cli.shared import console, interruptible
from qcs.cli.train_options import OWN, signature
from qcs.engine.training.config import TrainConfig, recipe_for
from qcs.engine.training.recipes import RECIPES
from qcs.engine.training.settings import setting_text, settings_of
from qcs.errors import InputError
from qcs.imports import require

MODULES = ("accelerate", "tensorboard", "torchmetrics", "matplotlib")


def train_command(config: type[TrainConfig]) -> Callable[..., None]:
    """Return the command `train`, with an option for every setting of `config`."""

    def train(**options: Any) -> None:
        """Train a network; write weights, metrics and figures to a run folder."""
        run_training(config, {name: value for name, value in options.items() if value is not None})

    train.__signature__ = signature(config)  # type: ignore[attr-defined]  # Typer reads it
    return train


train = train_command(TrainConfig)


def run_training(config: type[TrainConfig], options: dict[str, Any]) -> None:
    """Train with the options given, or resume a run."""
    if "resume" in options and len(options) > 1:
        others = ", ".join(f"--{name.replace('_', '-')}" for name in options if name != "resume")
        raise typer.BadParameter(f"--resume continues a run with its own settings; leave out {others}")
    require(*MODULES, extra="train")
    from qcs.cli.training_display import TrainingDisplay
    from qcs.engine import training

    with interruptible(), TrainingDisplay(console) as progress:
        reuse_memory_on_cpu()
        if "resume" in options:
            training.resume(options["resume"], progress=progress)
            return
        settings = settings_given(options)
        if "data" not in settings:
            raise typer.BadParameter("no images to train on: give --data, or --resume a run")
        chosen = config.from_recipe(options.get("recipe"), **settings)
        progress.say(settings_line(chosen, options.get("recipe") or recipe_for(settings)))
        training.train(chosen, progress=progress)


def settings_line(config: TrainConfig, recipe: str) -> str:
    """Return the settings of a run as a line: those that differ from its recipe.

    Example:
        >>> settings_line(TrainConfig.from_recipe("scratch", data="faces", epochs=3), "scratch")
        'settings: recipe scratch with data faces, epochs 3; config.json in the run folder lists all'
    """
    of_recipe = {**RECIPES[recipe]}
    differing = [
        f"{each.name} {setting_text(value)}"
        for each in settings_of(type(config))
        if (value := getattr(config, each.name)) != of_recipe.get(each.name, each.default)
    ]
    return f"settings: recipe {recipe} with {', '.join(differing)}; config.json in the run folder lists all"


def settings_given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that options and the settings file name."""
    given = {name: value for name, value in options.items() if name not in OWN}
    weights = {name: options[name] for name in ("kl", "l2") if options.get(name)}
    if weights:
        given["distillation"] = weights
    if "teachers" in given:
        given["teachers"] = tuple(given["teachers"])
    for name, option in (("model_args", "--model-arg"), ("objective_args", "--objective-arg")):
        if name in given:
            given[name] = dict(named_value(text, option) for text in given[name])
    if "settings" in options:
        given = {**_settings_in(options["settings"]), **given}
    if "backbone" in options:
        given.setdefault("model", "qcs_any")  # the network of the recipe has a backbone of its own
    return given


def reuse_memory_on_cpu() -> None:
    """Let this process keep the memory that it frees, which makes training on a CPU faster."""
    import torch

    from qcs.engine.training.hardware import keep_freed_memory

    if not torch.accelerator.is_available():
        keep_freed_memory()


def named_value(text: str, option: str) -> tuple[str, Any]:
    """Return name and value of an option NAME=VALUE; the value is JSON, or a word.

    Example:
        >>> named_value("scope=sample", "--model-arg"), named_value("epochs=3", "--set")
        (('scope', 'sample'), ('epochs', 3))
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"{option} takes NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:  # a word needs no quotes
        return name, value


def _settings_in(file: str) -> dict[str, Any]:
    """Settings in a JSON file: by name, or under "config" as in the config.json of a run."""
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
