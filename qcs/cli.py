"""The command line: parse, call, print."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
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
data_app = typer.Typer(no_args_is_help=True, help="Prepare and check images.")
app.add_typer(data_app, name="data")
console = Console()

Data = Annotated[str, typer.Option(help="Images: .npz archive, folder per class, or .txt/.lst/.csv list.")]
ImageRoot = Annotated[
    str | None, typer.Option(help="Folder that the paths of a list start from.", show_default="the folder of the list")
]
DataFormat = Annotated[
    str | None,
    typer.Option(help="Format of the data, as raf_db; an unknown name lists all.", show_default="recognised"),
]
Weights = Annotated[str, typer.Argument(help="Run folder, a .safetensors file written by a run, or hf-hub:ORG/NAME.")]


def _setting(help: str, default: str = "the recipe's") -> Any:
    """An option that says what holds where it is not given."""
    return typer.Option(help=help, show_default=default)


@app.command()
def train(
    data: Annotated[
        str | None, _setting("Images: .npz archive, folder per class, or .txt/.lst/.csv list.", "the resumed run's")
    ] = None,
    model: Annotated[str | None, _setting("Network, see 'qcs models'.", "the recipe's; qcs_nano for nano")] = None,
    recipe: Annotated[str | None, _setting("Settings to start from; what follows replaces its values.", "nano")] = None,
    settings: Annotated[str | None, _setting("JSON file of settings, as a run's config.json.", "none")] = None,
    resume: Annotated[str | None, _setting("Run folder to go on with, by its own settings alone.", "none")] = None,
    image_root: ImageRoot = None,
    data_format: DataFormat = None,
    votes: Annotated[str | None, _setting("How FERPlus votes of training images become labels.", "majority")] = None,
    soft_labels: Annotated[bool | None, _setting("Train on the shares of votes instead of one label.", "no")] = None,
    output: Annotated[str | None, _setting("Run folder to create.", "runs/MODEL-DATE-TIME")] = None,
    init: Annotated[str | None, _setting("Run folder or weights file to start from.", "fresh weights")] = None,
    backbone: Annotated[str | None, _setting("Any timm model, for qcs, dcs or base.", "the network's own")] = None,
    pretrained_backbone: Annotated[
        bool | None, _setting("Start with timm's weights of the backbone.", "fresh weights")
    ] = None,
    freeze_backbone: Annotated[bool | None, _setting("Train all but the backbone.", "train everything")] = None,
    epochs: Annotated[int | None, _setting("Passes over the sampled anchors.")] = None,
    minutes: Annotated[float | None, _setting("Time budget of the training loop, in minutes.", "none")] = None,
    batch_size: Annotated[int | None, _setting("Anchors per step, each with its companions.")] = None,
    lr: Annotated[float | None, _setting("Learning rate at the start.")] = None,
    schedule: Annotated[str | None, _setting("exponential or cosine.")] = None,
    lr_decay: Annotated[float | None, _setting("Factor per epoch, exponential schedule.", "0.98")] = None,
    layer_decay: Annotated[float | None, _setting("Learning rate's factor per layer towards the stem.", "1")] = None,
    sam_rho: Annotated[float | None, _setting("Radius of SAM; 0 switches it off.")] = None,
    fraction: Annotated[float | None, _setting("Share of the set used as anchors per epoch, 0 to 1.")] = None,
    balance: Annotated[str | None, _setting("Anchors: none (shuffle) or class (balanced).")] = None,
    negatives: Annotated[str | None, _setting("Negatives uniform over: image or class.")] = None,
    resize: Annotated[int | None, _setting("Side in pixels before the random crop.")] = None,
    rotation: Annotated[float | None, _setting("Largest random rotation, in degrees.")] = None,
    kl: Annotated[float | None, _setting("Weight of KL distillation, cross to base.", "0")] = None,
    l2: Annotated[float | None, _setting("Weight of L2 distillation, cross to base.", "0")] = None,
    label_smoothing: Annotated[float | None, _setting("Share of a label spread over all, 0 to 1.", "0")] = None,
    class_weights: Annotated[str | None, _setting("Weights of classes in the loss: none or inverse.", "none")] = None,
    accumulate: Annotated[int | None, _setting("Batches per optimiser step.", "1")] = None,
    clip_grad: Annotated[float | None, _setting("Largest norm of the gradient.", "any")] = None,
    ema: Annotated[float | None, _setting("Decay per step of averaged weights, 0 to 1.", "0: no average")] = None,
    patience: Annotated[int | None, _setting("Epochs without improvement before the end.", "all epochs")] = None,
    checkpoint_minutes: Annotated[float | None, _setting("Minutes between checkpoints in an epoch.", "5")] = None,
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
    if resume is not None and len(given) > 1:
        others = ", ".join(f"--{name.replace('_', '-')}" for name in given if name != "resume")
        raise typer.BadParameter(f"--resume goes on with the run's own settings; leave out {others}")
    for name in ("recipe", "settings", "resume", "kl", "l2", "model_arg"):
        given.pop(name, None)
    weights = {name: value for name, value in (("kl", kl), ("l2", l2)) if value}
    if weights:
        given["distillation"] = weights
    if model_arg:
        given["model_args"] = dict(map(_model_argument, model_arg))
    _needs("accelerate", "tensorboard", "torchmetrics", "matplotlib")
    from qcs import engine

    with _interruptible():
        if resume is not None:
            engine.resume(resume, console=console)
            return
        given = {**(_settings_in(settings) if settings is not None else {}), **given}
        if "data" not in given:
            raise typer.BadParameter("no images to train on: give --data, or --resume a run")
        if backbone is not None:
            given.setdefault("model", "qcs")  # the recipe's network has a backbone of its own
        engine.train(engine.TrainConfig.from_recipe(recipe or "nano", **given), console=console)


@app.command()
def evaluate(
    weights: Weights,
    data: Data,
    split: Annotated[str, typer.Option(help="train, validation, test, or all.")] = "test",
    image_root: ImageRoot = None,
    data_format: DataFormat = None,
    output: Annotated[str | None, _setting("Folder to write to.", "the folder of the weights")] = None,
) -> None:
    """Accuracy, balanced accuracy, per class and confusion matrix of a trained network."""
    _needs("accelerate", "torchmetrics", "matplotlib")
    from qcs.engine.report import evaluate_data

    evaluate_data(weights, data, split, image_root, output, console, data_format)


@app.command()
def predict(
    weights: Weights,
    images: Annotated[
        list[str], typer.Argument(help="Photographs, folders of them, videos, or camera (camera:1 is the second).")
    ],
    output: Annotated[str | None, _setting("File to write: .json or .csv.", "none")] = None,
    annotate: Annotated[str | None, _setting("Folder for the pictures with faces marked.", "none")] = None,
    detect: Annotated[bool, typer.Option(help="Find the faces, or take each image as one face that fills it.")] = True,
    crop: Annotated[
        str, typer.Option(help="How faces are cut out, as those trained on: fer2013, arcface or loose.")
    ] = "fer2013",
    min_face: Annotated[
        int | None, _setting("Smallest face to find, in pixels.", "a 40th of the shorter side, at least 20")
    ] = None,
    every: Annotated[int, typer.Option(help="Of a video or camera, take every n-th frame.")] = 1,
) -> None:
    """Expression of each face in photographs, videos or before a camera, with its probability."""
    _needs("accelerate", "torchmetrics")
    from qcs.engine.prediction_report import predict_crops, predict_pictures

    if detect:
        unreadable = predict_pictures(
            weights, images, output, annotate, console, crop=crop, min_face=min_face, every=every
        )
    elif annotate:
        raise InputError("there are no faces to mark with --no-detect; leave out --annotate")
    else:
        unreadable = predict_crops(weights, images, output, console)
    for error in unreadable:
        _report("red", "error", str(error))
    if unreadable:
        raise typer.Exit(1)


@app.command()
def models(
    pattern: Annotated[str, typer.Argument(help="Shell-style pattern of names.")] = "*",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with class names.", show_default="a table")
    ] = False,
) -> None:
    """The networks of this library: size and cost, the weights there are, and the accuracy that the paper reports."""
    from qcs.models.summary import describe_models

    rows = describe_models(pattern)
    if not rows:
        raise InputError(f"no model matches {pattern!r}; 'qcs models' lists all")
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    heads = ("parameters", "at inference", "GMACs", "input", "classes", "weights", "reported")
    table = Table(Column("name", no_wrap=True), *heads, box=None)
    for row in rows:
        table.add_row(
            row.name,
            f"{row.parameters / 1e6:.2f} M",
            f"{row.inference / 1e6:.2f} M",
            f"{row.gmacs:.3g}",
            " x ".join(map(str, row.input_size)),
            str(len(row.classes) or "any"),
            row.weights or "none",
            f"{row.accuracy:.2%}" if row.accuracy else "",
        )
    console.print(table)


@app.command()
def push(
    source: Annotated[
        str, typer.Argument(metavar="RUN_OR_WEIGHTS", help="Run folder, or a .safetensors file written by a run.")
    ],
    repository: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Repository on the Hugging Face Hub.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.", show_default="public")
    ] = False,
    revision: Annotated[str | None, _setting("Branch to commit to.", "main")] = None,
    licence: Annotated[
        str | None, _setting("Licence of the weights, by its identifier on the Hub.", "not stated")
    ] = None,
    dry_run: Annotated[str | None, _setting("Folder to write to instead of publishing.", "none")] = None,
) -> None:
    """Publish weights with configuration, golden logits and a model card, or write the folder that would be."""
    _needs("accelerate", "torchmetrics")
    if dry_run is None:
        from qcs.hub.push import push as publish

        url = publish(source, repository, private=private, revision=revision, licence=licence)
        console.print(f"published {url}", markup=False, highlight=False, soft_wrap=True)
        return
    from qcs.hub.push import check_name
    from qcs.hub.repository import Publication, write_repository

    check_name(repository)
    write_repository(Publication.of(source, repository, licence), Path(dry_run))
    console.print(f"wrote {dry_run}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def convert(
    file: Annotated[str, typer.Argument(help="Checkpoint of the original implementation, or one with an IR-50.")],
    to: Annotated[
        str | None, _setting("Network and tag it is of, as qcs_ir50.raf_db; ir50 for the backbone.", "lists what fits")
    ] = None,
    output: Annotated[str | None, _setting("File to write: .safetensors.", "NAME.safetensors")] = None,
) -> None:
    """Turn a checkpoint of the original implementation into a weights file, and count what became of its entries."""
    from qcs.models.convert import convert_checkpoint

    done = convert_checkpoint(file, to, output)
    console.print(f"{done.loaded.matched} of {done.loaded.total} entries matched", highlight=False)
    for what, count in done.loaded.dropped.items():
        console.print(f"{count} dropped: {what}", highlight=False, soft_wrap=True)
    console.print("read back: equal tensors, equal answers to the golden input", highlight=False)
    console.print(f"wrote {escape(str(done.path))}", highlight=False, soft_wrap=True)


@app.command()
def export(
    weights: Weights,
    format: Annotated[str, typer.Option(help="onnx, openvino, torch-export or torchscript.")] = "onnx",
    output: Annotated[
        str | None, _setting("File to write: .onnx, .xml, .pt2 or .torchscript.", "NAME-PRECISION and the suffix")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 (not onnx) or int8 (openvino alone).")] = "fp32",
    calibration: Annotated[
        str | None, _setting("Images to find the value ranges of int8 with: data as for training.", "none")
    ] = None,
) -> None:
    """Write the network at inference for other run times; checked against PyTorch, with size and latency."""
    _needs("accelerate", "torchmetrics")
    from qcs.export.report import export_weights

    export_weights(weights, format, output, precision, calibration, console)


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


@data_app.command("align")
def align_data(
    source: Annotated[str, typer.Argument(metavar="IN", help="Folder of pictures, searched at any depth.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="Folder of faces, with the same tree of folders.")],
    size: Annotated[int, typer.Option(help="Side of the faces, in pixels.")] = 112,
    crop: Annotated[str, typer.Option(help="How faces are cut out: fer2013, arcface or loose.")] = "fer2013",
    faces: Annotated[str, typer.Option(help="best (the largest of a picture) or all.")] = "best",
    min_face: Annotated[
        int | None, _setting("Smallest face to find, in pixels.", "a 40th of the shorter side, at least 20")
    ] = None,
    workers: Annotated[int | None, _setting("Processes that work at the same time.", "one per core")] = None,
) -> None:
    """Cut the faces out of pictures, upright and at one size; started again, it goes on where it was."""
    from qcs.faces import MTCNN, align_folder

    with _interruptible():
        done = align_folder(
            source,
            target,
            size=size,
            crop=crop,
            faces=faces,
            workers=os.cpu_count() or 1 if workers is None else workers,
            detector=partial(MTCNN, min_face),
            console=console,
        )
    console.print(f"{done}; see {target}/align.jsonl", markup=False, highlight=False, soft_wrap=True)


@data_app.command("check")
def check_data(
    path: Annotated[str, typer.Argument(help="Archive, folder or list file.")],
    format: Annotated[str | None, _setting("What it is, as raf_db; an unknown name lists all.", "recognised")] = None,
    votes: Annotated[str, typer.Option(help="From FERPlus votes to labels; an unknown name lists all.")] = "majority",
    image_root: ImageRoot = None,
) -> None:
    """Read every image of a dataset once and say what was found, beside the published counts."""
    from qcs.data.check import check, show
    from qcs.data.readers.layout import LayoutError

    try:
        found = check(path, image_root, format=format, votes=votes)
    except LayoutError as error:
        console.print("\n  ".join(("expected:", *error.layout)), markup=False, highlight=False, soft_wrap=True)
        raise
    show(found, console)
    for unreadable in found.unreadable:
        _report("red", "error", str(unreadable))
    if found.unreadable:
        raise typer.Exit(1)


@data_app.command("manifest")
def manifest_data(
    path: Annotated[str, typer.Argument(help="Folder or file.")],
    output: Annotated[str, typer.Option(help="JSON file to write.")],
    verify: Annotated[bool, typer.Option("--verify", help="Compare with that file instead of writing it.")] = False,
) -> None:
    """Write the SHA-256 of every file, so that a result can name its exact data."""
    from qcs.data.manifest import changes, write_manifest

    if not verify:
        console.print(write_manifest(path, output)["sha256"], "wrote", escape(output), highlight=False, soft_wrap=True)
    elif changed := changes(path, output):
        raise InputError(f"{len(changed):,} files of {path} are not as in {output}, first: {changed[0]}")
    else:
        console.print("all files are as in", escape(output), highlight=False, soft_wrap=True)


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
