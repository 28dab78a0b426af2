"""The command `qcs evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from rich.table import Table

from qcs.cli.shared import Data, DataFormat, ImageRoot, Split, Tta, Weights, cell, console, option, say
from qcs.imports import require

if TYPE_CHECKING:
    from qcs.engine.weights_evaluation import WeightsEvaluation


def evaluate(
    weights: Weights,
    data: Data,
    split: Split = "test",
    image_root: ImageRoot = None,
    data_format: DataFormat = None,
    output: Annotated[str | None, option("Folder to write to.", "that of the weights, or the current one")] = None,
    tta: Tta = False,
) -> None:
    """Evaluate trained weights: accuracy, accuracy per class, confusion matrix, reliability of the probabilities.

    ECE (expected calibration error), Brier score and NLL (negative log-likelihood, in nats) are better the lower they
    are, and are shown before and after the calibration that the weights state.
    """
    require("matplotlib", "torchmetrics", extra="train")
    from qcs.engine.weights_evaluation import evaluate_weights

    done = evaluate_weights(weights, data, split, image_root=image_root, data_format=data_format, tta=tta)
    _show(done)
    record, figure = done.save(output)
    say(f"wrote {record} and {figure}")


def _show(done: WeightsEvaluation) -> None:
    result = done.evaluation
    if done.note:
        say(done.note)
    say(f"{done.weights} on {done.split} of {done.data}{', with test-time augmentation' if done.tta else ''}")
    table = Table("class", "images", "accuracy", box=None)
    for name, (correct, images) in result.per_class_counts.items():
        table.add_row(cell(name), f"{images:,}", f"{correct / images:.2%}")
    console.print(table)
    if done.calibration is not None:
        say(f"{done.calibration!r}")
    scores = Table("probabilities", "ECE", "Brier score", "NLL", box=None)
    for name, found in done.scores.items():
        scores.add_row(name, f"{found.ece:.4f}", f"{found.brier:.4f}", f"{found.nll:.4f}")
    console.print(scores)
    say(
        f"accuracy {result.accuracy:.2%}, balanced {result.balanced_accuracy:.2%}, loss {result.loss:.4f} "
        f"({result.images:,} images)"
    )
