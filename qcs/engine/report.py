"""Evaluating and predicting from a weights file, with the results printed and written beside it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from timm.data import resolve_model_data_config
from torch.utils.data import DataLoader

from qcs.data import eval_transform, merge, read
from qcs.data.dataset import LabelledImages
from qcs.engine.evaluation import Evaluation, evaluate
from qcs.engine.predict import Prediction, predict
from qcs.engine.run_folder import RunFolder, weights_file, write_text
from qcs.errors import InputError
from qcs.models import CrossSimilarityNetwork, load_model

IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def evaluate_data(
    weights: str, data: str, split: str, image_root: str | None, output: str | None, console: Console
) -> Evaluation:
    """Evaluate weights on a split of some data; classes meet by name.

    Raises:
        InputError: If weights or data cannot be read, or they share no class.
    """
    path = weights_file(weights)
    model = load_model(path)
    images = _split(read(data, image_root, classes=_names_for_numbers(model)), split, data)
    known = images.with_classes(model.class_names)
    if len(known) < len(images):
        console.print(f"left out {len(images) - len(known):,} of {len(images):,} images: not a class of the network")
    device = Accelerator().device
    batches = DataLoader(known.with_transform(eval_transform(resolve_model_data_config(model))), batch_size=256)
    result = evaluate(model.to(device), batches, model.class_names, device)
    _print(result, f"{path} on {split} of {data}", console)
    _write(result, Path(output) if output else path.parent, f"{Path(data).stem}-{split}", console)
    return result


def predict_files(weights: str, images: Sequence[str], output: str | None, console: Console) -> int:
    """Predict image files and folders; unreadable ones are named and passed over.

    Returns:
        Number of files that could not be read.

    Raises:
        InputError: If weights cannot be read, there is nothing to predict, or the output is of no known kind.
    """
    if output is not None and Path(output).suffix not in (".json", ".csv"):
        raise InputError(f"output must end in .json or .csv, got {output}")
    model = load_model(weights_file(weights))
    predictions: list[Prediction] = []
    unreadable = 0
    for path in _files(images):
        try:
            predictions += predict(model, [path])
        except InputError as error:
            unreadable += 1
            console.print(f"[red]error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
            continue
        shown = predictions[-1]
        console.print(
            f"{escape(shown.path)}  {shown.label}  {shown.probabilities[shown.label]:.1%}",
            highlight=False,
            soft_wrap=True,
        )
    if output is not None:
        write_text(Path(output), _as_csv(predictions) if output.endswith(".csv") else _as_json(predictions))
        console.print(f"wrote {output}", highlight=False, soft_wrap=True)
    return unreadable


def _names_for_numbers(model: CrossSimilarityNetwork) -> tuple[str, ...] | None:
    return model.pretrained_cfg.get("label_names")


def _split(splits: dict[str, LabelledImages], name: str, data: str) -> LabelledImages:
    if name == "all" or list(splits) == ["all"]:
        return merge(splits)
    if name not in splits:
        raise InputError(f"{data} has no {name} split; it has {', '.join(splits)}; choose with --split, or 'all'")
    return splits[name]


def _print(result: Evaluation, title: str, console: Console) -> None:
    table = Table("class", "images", "accuracy", box=None)
    for name, accuracy in result.per_class.items():
        table.add_row(name, f"{result.confusion[result.classes.index(name)].sum():,}", f"{accuracy:.2%}")
    console.print(title, highlight=False, soft_wrap=True)
    console.print(table)
    console.print(
        f"accuracy {result.accuracy:.2%}, balanced {result.balanced_accuracy:.2%}, loss {result.loss:.4f} "
        f"({result.images:,} images)",
        highlight=False,
    )


def _write(result: Evaluation, folder: Path, name: str, console: Console) -> None:
    from qcs import visualize

    record = RunFolder(folder).write_json(f"{name}.json", result.to_dict())
    picture = visualize.save(
        visualize.confusion_matrices({name: result.confusion}, result.classes), folder / f"{name}.png"
    )
    console.print(f"wrote {record} and {picture}", highlight=False, soft_wrap=True)


def _files(images: Sequence[str]) -> list[Path]:
    files: list[Path] = []
    for name in images:
        path = Path(name)
        if not path.exists():
            raise InputError(f"no image or folder at {path}")
        if path.is_dir():
            files += sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
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
    writer.writerow(["path", "label", *(predictions[0].probabilities if predictions else ())])
    for prediction in predictions:
        writer.writerow([prediction.path, prediction.label, *prediction.probabilities.values()])
    return text.getvalue()
