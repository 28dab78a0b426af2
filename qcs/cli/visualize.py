"""The command `visualize`."""

from __future__ import annotations

from typing import Annotated

import typer

from qcs.cli.shared import DataFormat, ImageRoot, console, interruptible, setting
from qcs.imports import require


def visualize(
    kind: Annotated[
        str,
        typer.Argument(
            help="similarity, classes, features, embedding, attention, cam, confusion, curves, or all of them."
        ),
    ],
    weights: Annotated[
        list[str], typer.Argument(help="Run folders, .safetensors files or hf-hub:ORG/NAME; several are compared.")
    ],
    data: Annotated[
        str | None, setting("Faces: .npz archive, folder per class, or .txt/.lst/.csv list.", "none, for curves")
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation, test, or all.")] = "test",
    anchor: Annotated[
        str | None, setting("Class of the face that others are compared with.", "the first with two images")
    ] = None,
    level: Annotated[int | None, setting("Feature level of matrices and heat maps, from 1.", "the deepest")] = None,
    seed: Annotated[int, typer.Option(help="Decides which faces are shown.")] = 0,
    image_root: ImageRoot = None,
    data_format: DataFormat = None,
    output: Annotated[str, typer.Option(help="Folder to write to.")] = "pictures",
    format: Annotated[str, typer.Option(help="png, pdf, svg, ...")] = "png",
) -> None:
    """Pictures of what trained networks compare and see, each with its numbers beside it."""
    require("accelerate", "torchmetrics", "matplotlib", extra="viz")
    from qcs.cli.draw import draw_pictures

    with interruptible():
        draw_pictures(
            kind,
            weights,
            data,
            console,
            output=output,
            format=format,
            split=split,
            anchor=anchor,
            level=level,
            seed=seed,
            image_root=image_root,
            data_format=data_format,
        )
