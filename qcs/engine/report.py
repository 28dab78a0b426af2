"""Evaluating and predicting from a weights file, with the results printed and written beside it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator
from rich.console import Console
from rich.table import Table
from timm.data import resolve_model_data_config
from torch.utils.data import DataLoader

from qcs.data import eval_transform, merge, read
from qcs.data.dataset import LabelledImages
from qcs.data.readers import IMAGE_SUFFIXES, SPLITS
from qcs.engine.evaluation import Evaluation, evaluate
from qcs.engine.predict import Prediction, predict
from qcs.engine.run_folder import RunFolder, weights_file, write_text, writing
from qcs.errors import InputError
from qcs.models import CrossSimilarityNetwork, load_model


def evaluate_data(
    weights: str, data: str, split: str, image_root: str | None, output: str | None, console: Console
) -> Evaluation:
    """Evaluate weights on a split of some data; classes meet by name.

    Raises:
        InputError: If weights or data cannot be read, or they share no class.
    """
    if split not in (*SPLITS, "all"):
        raise InputError(f"unknown split {split!r}; expected one of {', '.join(SPLITS)}, or all")
    path = weights_file(weights)
    model = load_model(path)
    split, images = _chosen(_read(data, image_root, model), split, data)
    known = images.with_classes(model.class_names)
    if len(known) < len(images):
        _say(
            console,
            f"left out {len(images) - len(known):,} of {len(images):,} images: their classes are not among those of "
            f"the network, {', '.join(model.class_names)}",
        )
    device = Accelerator().device
    batches = DataLoader(known.with_transform(eval_transform(resolve_model_data_config(model))), batch_size=256)
    result = evaluate(model.to(device), batches, model.class_names, device)
    _print(result, f"{path} on {split} of {data}", console)
    _write(result, Path(output) if output else path.parent, f"{Path(data).resolve().stem}-{split}", console)
    return result


def predict_files(weights: str, images: Sequence[str], output: str | None, console: Console) -> list[InputError]:
    """Predict image files and folders, passing over files that cannot be read.

    Returns:
        An error for each file that could not be read.

    Raises:
        InputError: If weights cannot be read, there is nothing to predict, or the output is of no known kind.
    """
    if output is not None and Path(output).suffix not in (".json", ".csv"):
        raise InputError(f"output must end in .json or .csv, got {output}")
    model = load_model(weights_file(weights))
    unreadable: list[InputError] = []
    predictions: list[Prediction] = []
    for shown in predict(model, _files(images), Accelerator().device, unreadable.append):
        predictions.append(shown)
        _say(console, f"{shown.path}  {shown.label}  {shown.probabilities[shown.label]:.1%}")
    if output is not None and predictions:
        write_text(Path(output), _as_csv(predictions) if output.endswith(".csv") else _as_json(predictions))
        _say(console, f"wrote {output}")
    return unreadable


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _read(data: str, image_root: str | None, model: CrossSimilarityNetwork) -> dict[str, LabelledImages]:
    """The data; labels that are numbers without names stand for the network's classes."""
    splits = read(data, image_root)
    nameless = all(name.isdecimal() for name in next(iter(splits.values())).classes)
    return read(data, image_root, model.class_names) if nameless else splits


def _chosen(splits: dict[str, LabelledImages], name: str, data: str) -> tuple[str, LabelledImages]:
    """The split of that name, or all images; data without splits has only those."""
    if name == "all" or list(splits) == ["all"]:
        return "all", merge(splits)
    if name not in splits:
        raise InputError(f"{data} has no {name} split; it has {', '.join(splits)}; choose with --split, or 'all'")
    return name, splits[name]


def _print(result: Evaluation, title: str, console: Console) -> None:
    table = Table("class", "images", "accuracy", box=None)
    for name, accuracy in result.per_class.items():
        table.add_row(name, f"{result.confusion[result.classes.index(name)].sum():,}", f"{accuracy:.2%}")
    _say(console, title)
    console.print(table)
    _say(
        console,
        f"accuracy {result.accuracy:.2%}, balanced {result.balanced_accuracy:.2%}, loss {result.loss:.4f} "
        f"({result.images:,} images)",
    )


def _write(result: Evaluation, folder: Path, name: str, console: Console) -> None:
    from qcs import visualize

    record, picture = folder / f"{name}.json", folder / f"{name}.png"
    RunFolder(folder).write_json(record.name, result.to_dict())
    with writing(picture):
        visualize.save(visualize.confusion_matrices({name: result.confusion}, result.classes), picture)
    _say(console, f"wrote {record} and {picture}")


def _files(images: Sequence[str]) -> list[Path]:
    files: list[Path] = []
    for name in images:
        path = Path(name)
        if not path.exists():
            raise InputError(f"no image or folder at {path}")
        if path.is_dir():
            files += sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        else:
            files.append(path)
    if not files:
        raise InputError(
            f"no images in {', '.join(images)}; expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return files


def _as_json(predictions: Sequence[Prediction]) -> str:
    return json.dumps([prediction.to_dict() for prediction in predictions], indent=2) + "\n"


def _as_csv(predictions: Sequence[Prediction]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["path", "label", *predictions[0].probabilities])
    for prediction in predictions:
        writer.writerow([prediction.path, prediction.label, *prediction.probabilities.values()])
    return text.getvalue()
