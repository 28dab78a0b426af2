"""The commands that use trained weights: `evaluate` and `predict`."""

from __future__ import annotations

from typing import Annotated

import typer

from qcs.cli.shared import Data, DataFormat, ImageRoot, Weights, console, report, setting
from qcs.errors import InputError
from qcs.imports import require

Tta = Annotated[
    bool,
    typer.Option(
        "--tta",
        help="Test-time augmentation: average with the flipped image, at twice the cost.",
        show_default="off",
    ),
]


def evaluate(
    weights: Weights,
    data: Data,
    split: Annotated[str, typer.Option(help="train, validation, test, or all.")] = "test",
    image_root: ImageRoot = None,
    data_format: DataFormat = None,
    output: Annotated[str | None, setting("Folder to write to.", "that of the weights, or this one")] = None,
    tta: Tta = False,
) -> None:
    """Accuracy, balanced accuracy, per class and confusion matrix of a trained network."""
    require("accelerate", "torchmetrics", "matplotlib", extra="train")
    from qcs.cli.evaluate import evaluate_data

    evaluate_data(weights, data, split, image_root, output, console, data_format, tta=tta)


def predict(
    weights: Weights,
    images: Annotated[
        list[str], typer.Argument(help="Photographs, folders of them, videos, or camera (camera:1 is the second).")
    ],
    output: Annotated[str | None, setting("File to write: .json or .csv.", "none")] = None,
    annotate: Annotated[str | None, setting("Folder for the pictures with faces marked.", "none")] = None,
    detect: Annotated[bool, typer.Option(help="Find the faces, or take each image as one face that fills it.")] = True,
    crop: Annotated[
        str | None,
        setting("How faces are cut out: fer2013, arcface or loose.", "as those trained on, where known, else fer2013"),
    ] = None,
    min_face: Annotated[
        int | None, setting("Smallest face to find, in pixels.", "a 40th of the shorter side, at least 20")
    ] = None,
    every: Annotated[int, typer.Option(help="Of a video or camera, take every n-th frame.")] = 1,
    tta: Tta = False,
) -> None:
    """Expression of each face in photographs, videos or before a camera, with its probability."""
    require("accelerate", "torchmetrics", extra="faces")
    from qcs.cli.predict import predict_crops, predict_pictures

    if detect:
        unreadable = predict_pictures(
            weights,
            images,
            output,
            annotate,
            console,
            crop=crop,
            min_face=min_face,
            every=every,
            tta=tta,
        )
    elif annotate:
        raise InputError("there are no faces to mark with --no-detect; leave out --annotate")
    else:
        unreadable = predict_crops(weights, images, output, console, tta=tta)
    for error in unreadable:
        report("red", "error", str(error))
    if unreadable:
        raise typer.Exit(1)
