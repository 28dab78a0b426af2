"""The command `qcs calibrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from qcs.cli.shared import Data, DataFormat, ImageRoot, Weights, console, option, say
from qcs.imports import require

if TYPE_CHECKING:
    from qcs.engine.calibration import Calibrated


def calibrate(
    weights: Weights,
    data: Data,
    split: Annotated[
        str, typer.Option(help="Split to fit on: one that the weights were neither trained nor tested on.")
    ] = "validation",
    method: Annotated[
        str, typer.Option(help="temperature (one number) or vector (a scale and a bias per class).")
    ] = "temperature",
    output: Annotated[str | None, option("Weights file to write, .safetensors.", "the given one")] = None,
    image_root: ImageRoot = None,
    data_format: DataFormat = None,
) -> None:
    """Fit the probabilities of trained weights to labeled images, and keep the calibration in the weights file.

    Prediction, evaluation, the web page and exported files apply it from then on.
    """
    require("torchmetrics", extra="train")
    from qcs.engine.calibration import calibrate_weights

    done = calibrate_weights(
        weights, data, split, method=method, output=output, image_root=image_root, data_format=data_format
    )
    _show(done)
    say(f"wrote {done.path}")


def _show(done: Calibrated) -> None:
    if done.note:
        say(done.note)
    say(f"{done.calibration!r}")
    if done.calibration.votes is not None:
        say(f"distribution of the votes: {done.calibration.votes}")
    table = Table("probabilities", "ECE", "Brier score", "NLL", box=None)
    for name, scores in (("uncalibrated", done.before), ("calibrated", done.after)):
        table.add_row(name, f"{scores.ece:.4f}", f"{scores.brier:.4f}", f"{scores.nll:.4f}")
    console.print(table)
    say("These are the images of the fit; qcs evaluate measures the calibration on others.")
