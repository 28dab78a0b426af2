"""Evaluating a weights file, with the results printed and written beside it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from accelerate import Accelerator
from rich.console import Console
from rich.table import Table
from timm.data import resolve_model_data_config

from qcs.engine.eval_data import check_split, evaluation_batches, known_images
from qcs.engine.evaluation import Evaluation, evaluate
from qcs.engine.face_crop import warn_of_other_crop
from qcs.engine.run_folder import RunFolder
from qcs.engine.tta import FlipTTA
from qcs.files import writing
from qcs.models import load_model
from qcs.models.weights import find_weights


def evaluate_data(
    weights: str,
    data: str,
    split: str,
    image_root: str | None,
    output: str | None,
    console: Console,
    data_format: str | None = None,
    *,
    tta: bool = False,
) -> Evaluation:
    """Evaluate weights on a split of some data; classes meet by name.

    Args:
        weights: A weights file or what stands for one, see `find_weights`.
        data: The images, see `qcs.data.read`.
        split: `"train"`, `"validation"`, `"test"` or `"all"`.
        image_root: Folder that the paths of a list file start from.
        output: Folder to write to; None means that of the weights, or the current one where they have only a name.
        console: Where to show the result.
        data_format: Format of the data; None recognises it.
        tta: Whether to average with the mirror images, see `FlipTTA`.

    Raises:
        InputError: If weights or data cannot be read, or they share no class.
    """
    check_split(split)
    path = find_weights(weights)
    model = load_model(path)
    split, known = known_images(model, data, split, image_root, data_format, partial(_say, console))
    warn_of_other_crop(path, known, data)
    device = Accelerator().device
    batches = evaluation_batches(known, resolve_model_data_config(model))
    look = FlipTTA(model) if tta else model
    result = evaluate(look.to(device), batches, model.class_names, device)
    augmented = ", with test-time augmentation" if tta else ""
    _print(result, f"{path} on {split} of {data}{augmented}", console)
    # Neither the package nor the Hub's cache is a place for results.
    beside = path.parent if Path(weights).exists() else Path()
    name = f"{Path(data).resolve().stem}-{split}" + ("-tta" if tta else "")
    _write(result, Path(output) if output else beside, name, console)
    return result


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


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
