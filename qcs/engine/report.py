"""Evaluating a weights file, with the results printed and written beside it."""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator
from rich.console import Console
from rich.table import Table
from timm.data import resolve_model_data_config
from torch.utils.data import DataLoader

from qcs.data import eval_transform, merge, read
from qcs.data.dataset import LabelledImages
from qcs.data.readers import SPLITS
from qcs.engine.crop import warn_of_other_crop
from qcs.engine.evaluation import Evaluation, evaluate
from qcs.engine.run_folder import RunFolder, weights_file, writing
from qcs.errors import InputError
from qcs.models import CrossSimilarityNetwork, load_model


def evaluate_data(
    weights: str,
    data: str,
    split: str,
    image_root: str | None,
    output: str | None,
    console: Console,
    data_format: str | None = None,
) -> Evaluation:
    """Evaluate weights on a split of some data; classes meet by name.

    Raises:
        InputError: If weights or data cannot be read, or they share no class.
    """
    if split not in (*SPLITS, "all"):
        raise InputError(f"unknown split {split!r}; expected one of {', '.join(SPLITS)}, or all")
    path = weights_file(weights)
    model = load_model(path)
    split, images = _chosen(_read(data, image_root, data_format, model), split, data)
    warn_of_other_crop(path, images, data)
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
    beside = Path() if weights.startswith("hf-hub:") else path.parent  # the Hub's cache is no place for results
    _write(result, Path(output) if output else beside, f"{Path(data).resolve().stem}-{split}", console)
    return result


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _read(
    data: str, image_root: str | None, data_format: str | None, model: CrossSimilarityNetwork
) -> dict[str, LabelledImages]:
    """The data; labels that are numbers without names stand for the network's classes."""
    splits = read(data, image_root, format=data_format)
    nameless = all(name.isdecimal() for name in next(iter(splits.values())).classes)
    return read(data, image_root, model.class_names, format=data_format) if nameless else splits


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
