"""The command `qcs models`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Column, Table

from qcs.cli.shared import console
from qcs.errors import InputError


def models(
    pattern: Annotated[str, typer.Argument(help="Shell-style pattern of names, such as 'qcs_*'.")] = "*",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with class names.", show_default="a table")
    ] = False,
) -> None:
    """List the networks: size, cost, available weights and published accuracy."""
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
