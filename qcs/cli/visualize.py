"""The command `qcs visualize`."""

from __future__ import annotations

from typing import Annotated

import typer

from qcs.cli.shared import DataFormat, ImageRoot, Split, interruptible, option, say
from qcs.imports import require


def visualize(
    kind: Annotated[
        str,
        typer.Argument(
            help="Figure: similarity, classes, features, embedding, attention, cam, confusion, curves, or all."
        ),
    ],
    weights: Annotated[
        list[str], typer.Argument(help="Trained weights: run folders, .safetensors files, names; several are compared.")
    ],
    data: Annotated[
        str | None,
        option("Faces: .npz archive, folder per class, or .txt, .lst or .csv list.", "none; curves need none"),
    ] = None,
    split: Split = "test",
    anchor: Annotated[
        str | None, option("Class of the face that others are compared with.", "the first with two images")
    ] = None,
    level: Annotated[int | None, option("Feature level of matrices and heat maps, from 1.", "the deepest")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the choice of faces.")] = 0,
    image_root: ImageRoot = None,
    data_format: DataFormat = None,
    output: Annotated[str, typer.Option(help="Folder to write to.")] = "pictures",
    format: Annotated[str, typer.Option(help="File format of the figures: png, pdf, svg, ...")] = "png",
) -> None:
    """Draw what trained networks compare and attend to, with the numbers behind each figure."""
    require("matplotlib", "torchmetrics", extra="viz")
    from qcs.report.drawing import draw_figures

    with interruptible():
        for drawn in draw_figures(
            kind,
            weights,
            data,
            output=output,
            format=format,
            split=split,
            anchor=anchor,
            level=level,
            seed=seed,
            image_root=image_root,
            data_format=data_format,
        ):
            say(drawn.note or f"wrote {drawn.path}")
