"""The commands of the model zoo: `models`, `push`, `convert` and `export`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from qcs.cli.shared import Weights, console, setting
from qcs.errors import InputError
from qcs.imports import require


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


def push(
    source: Annotated[
        str, typer.Argument(metavar="RUN_OR_WEIGHTS", help="Run folder, or a .safetensors file written by a run.")
    ],
    repository: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Repository on the Hugging Face Hub.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.", show_default="public")
    ] = False,
    revision: Annotated[str | None, setting("Branch to commit to.", "main")] = None,
    license: Annotated[
        str | None, setting("License of the weights, by its identifier on the Hub.", "not stated")
    ] = None,
    dry_run: Annotated[str | None, setting("Folder to write to instead of publishing.", "none")] = None,
) -> None:
    """Publish weights with configuration, golden logits and a model card, or write the folder that would be."""
    require("accelerate", "torchmetrics", extra="train")
    if dry_run is None:
        from qcs.publish import push as publish

        url = publish(source, repository, private=private, revision=revision, license=license)
        console.print(f"published {url}", markup=False, highlight=False, soft_wrap=True)
        return
    from qcs.publish import Publication, write_repository
    from qcs.publish.upload import check_name

    check_name(repository)
    write_repository(Publication.of(source, repository, license), Path(dry_run))
    console.print(f"wrote {dry_run}", markup=False, highlight=False, soft_wrap=True)


def convert(
    file: Annotated[str, typer.Argument(help="Checkpoint of the original implementation, or one with an IR-50.")],
    to: Annotated[
        str | None, setting("Network and tag it is of, as qcs_ir50.raf_db; ir50 for the backbone.", "lists what fits")
    ] = None,
    output: Annotated[str | None, setting("File to write: .safetensors.", "NAME.safetensors")] = None,
) -> None:
    """Turn a checkpoint of the original implementation into a weights file, and count what became of its entries."""
    from qcs.models.convert import convert_checkpoint

    done = convert_checkpoint(file, to, output)
    console.print(f"{done.loaded.matched} of {done.loaded.total} entries matched", highlight=False)
    for what, count in done.loaded.dropped.items():
        console.print(f"{count} dropped: {what}", highlight=False, soft_wrap=True)
    console.print("read back: equal tensors, equal answers to the golden input", highlight=False)
    console.print(f"wrote {escape(str(done.path))}", highlight=False, soft_wrap=True)


def export(
    weights: Weights,
    format: Annotated[str, typer.Option(help="onnx, openvino, torch-export or torchscript.")] = "onnx",
    output: Annotated[
        str | None, setting("File to write: .onnx, .xml, .pt2 or .torchscript.", "NAME-PRECISION and the suffix")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 (not onnx) or int8 (openvino alone).")] = "fp32",
    calibration: Annotated[
        str | None, setting("Images to find the value ranges of int8 with: data as for training.", "none")
    ] = None,
) -> None:
    """Write the network at inference for other run times; checked against PyTorch, with size and latency."""
    require("accelerate", "torchmetrics", extra="export")
    from qcs.cli.export import export_weights

    export_weights(weights, format, output, precision, calibration, console)
