"""The command line: parse, call, print."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from qcs.errors import InputError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Quadruplet Cross Similarity for facial expression recognition.",
)
console = Console()

Data = Annotated[str, typer.Option(help="Images: .npz archive, folder per class, or .txt/.lst/.csv list.")]
ImageRoot = Annotated[
    str | None, typer.Option(help="Folder that the paths of a list start from.", show_default="the folder of the list")
]
Weights = Annotated[str, typer.Argument(help="Run folder, or a .safetensors file written by a run.")]


def _setting(help: str, default: str = "the recipe's") -> Any:
    """An option that says what holds where it is not given."""
    return typer.Option(help=help, show_default=default)


@app.command()
def train(
    data: Data,
    model: Annotated[str | None, _setting("Network, see 'qcs models'.", "the recipe's; qcs_nano for nano")] = None,
    recipe: Annotated[str, typer.Option(help="Settings to start from; the options below replace its values.")] = "nano",
    image_root: ImageRoot = None,
    output: Annotated[str | None, _setting("Run folder to create.", "runs/MODEL-DATE-TIME")] = None,
    init: Annotated[str | None, _setting("Run folder or weights file to start from.", "fresh weights")] = None,
    epochs: Annotated[int | None, _setting("Passes over the sampled anchors.")] = None,
    minutes: Annotated[float | None, _setting("Time budget of the training loop, in minutes.", "none")] = None,
    batch_size: Annotated[int | None, _setting("Anchors per step, each with its companions.")] = None,
    lr: Annotated[float | None, _setting("Learning rate at the start.")] = None,
    schedule: Annotated[str | None, _setting("exponential or cosine.")] = None,
    lr_decay: Annotated[float | None, _setting("Factor per epoch, exponential schedule.", "0.98")] = None,
    sam_rho: Annotated[float | None, _setting("Radius of SAM; 0 switches it off.")] = None,
    fraction: Annotated[float | None, _setting("Share of the set used as anchors per epoch, 0 to 1.")] = None,
    balance: Annotated[str | None, _setting("Anchors: none (shuffle) or class (balanced).")] = None,
    negatives: Annotated[str | None, _setting("Negatives uniform over: image or class.")] = None,
    resize: Annotated[int | None, _setting("Side in pixels before the random crop.")] = None,
    rotation: Annotated[float | None, _setting("Largest random rotation, in degrees.")] = None,
    kl: Annotated[float | None, _setting("Weight of KL distillation, cross to base.", "0")] = None,
    l2: Annotated[float | None, _setting("Weight of L2 distillation, cross to base.", "0")] = None,
    label_smoothing: Annotated[float | None, _setting("Share of a label spread over all, 0 to 1.", "0")] = None,
    precision: Annotated[str | None, _setting("fp32, bf16 (autocast), or auto: bf16 where it is native.")] = None,
    in_chans: Annotated[int | None, _setting("Channels inside the network, 3 or 1 (grey).", "3")] = None,
    model_arg: Annotated[
        list[str] | None, _setting("Argument of the network as NAME=VALUE, as scope=sample; repeatable.", "none")
    ] = None,
    workers: Annotated[int | None, _setting("Processes that load images; 0 loads in the main one.", "0")] = None,
    seed: Annotated[int | None, _setting("Decides weights, sampling and augmentation.", "0")] = None,
) -> None:
    """Train a network and leave weights, metrics and pictures in a run folder."""
    given = {name: value for name, value in locals().items() if value is not None}
    for name in ("recipe", "kl", "l2", "model_arg"):
        given.pop(name, None)
    weights = {name: value for name, value in (("kl", kl), ("l2", l2)) if value}
    if weights:
        given["distillation"] = weights
    if model_arg:
        given["model_args"] = dict(map(_model_argument, model_arg))
    _needs("accelerate", "tensorboard", "torchmetrics", "matplotlib")
    from qcs import engine

    with _interruptible():
        engine.train(engine.TrainConfig.from_recipe(recipe, **given), console=console)


@app.command()
def evaluate(
    weights: Weights,
    data: Data,
    split: Annotated[str, typer.Option(help="train, validation, test, or all.")] = "test",
    image_root: ImageRoot = None,
    output: Annotated[str | None, _setting("Folder to write to.", "the folder of the weights")] = None,
) -> None:
    """Accuracy, balanced accuracy, per class and confusion matrix of a trained network."""
    _needs("accelerate", "torchmetrics", "matplotlib")
    from qcs.engine.report import evaluate_data

    evaluate_data(weights, data, split, image_root, output, console)


@app.command()
def predict(
    weights: Weights,
    images: Annotated[list[str], typer.Argument(help="Image files or folders of them; each image one face.")],
    output: Annotated[str | None, _setting("File to write: .json or .csv.", "none")] = None,
) -> None:
    """Expression of each image, with its probability."""
    _needs("accelerate", "torchmetrics")
    from qcs.engine.report import predict_files

    unreadable = predict_files(weights, images, output, console)
    for error in unreadable:
        _report("red", "error", str(error))
    if unreadable:
        raise typer.Exit(1)


@app.command()
def models(
    pattern: Annotated[str, typer.Argument(help="Shell-style pattern of names.")] = "*",
) -> None:
    """The networks of this library."""
    from qcs.models.factory import describe_models

    rows = describe_models(pattern)
    if not rows:
        raise InputError(f"no model matches {pattern!r}; 'qcs models' lists all")
    table = Table(Column("name", no_wrap=True), "parameters", "at inference", "input", "classes", box=None)
    for row in rows:
        table.add_row(
            row.name, f"{row.parameters / 1e6:.2f} M", f"{row.inference / 1e6:.2f} M", row.input_size, row.classes
        )
    console.print(table)


@app.command()
def demo(
    output: Annotated[str, typer.Option(help="Folder to create.")] = "demo",
    minutes: Annotated[float, typer.Option(help="Time limit of each of the two trainings, in minutes.")] = 2.25,
) -> None:
    """Train base_nano and qcs_nano on drawn faces, compare them and draw what they look at."""
    _needs("accelerate", "tensorboard", "torchmetrics", "matplotlib")
    from qcs.engine.demo import run_demo

    with _interruptible():
        run_demo(Path(output), minutes, console)


def _model_argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"--model-arg takes NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:  # a word needs no quotes
        return name, value


def _needs(*modules: str) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"this command needs {', '.join(missing)}; run: pip install 'qcs[train]'")


def main() -> None:
    """Run the command line; bad input ends in one clear line and a non-zero status."""
    threading.excepthook = lambda _: None  # TensorBoard's writer raises its error again where it is caught
    warnings.showwarning = lambda message, *place: _report("yellow", "warning", str(message))
    try:
        app(prog_name="qcs")
    except InputError as error:
        # From a process that loads images it comes with that process's traceback, which ends in the message.
        _fail(str(error).rpartition("InputError: ")[2], 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", 1)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Says that it was the user who stopped a long command."""
    try:
        yield
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(message: str, status: int) -> None:
    _report("red", "error", message)
    sys.exit(status)


def _report(colour: str, kind: str, message: str) -> None:
    """One line on the error stream, whatever the message holds."""
    line = " ".join(message.splitlines())
    Console(stderr=True, soft_wrap=True).print(f"[{colour}]{kind}:[/{colour}] {escape(line)}", highlight=False)
