"""The command `qcs models`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from qcs.cli.shared import console
from qcs.errors import InputError

if TYPE_CHECKING:
    from qcs.models.summary import ModelSummary


FAMILIES = ("qcs_ir50", "qcs_small", "qcs_nano", "qcs_any")  # listed beside the networks with weights
WEIGHTS = {None: "none", "embedded": "shipped"}


def models(
    pattern: Annotated[
        str | None, typer.Argument(help="Shell-style pattern of names, such as 'qcs_*'.", show_default="main networks")
    ] = None,
    all_networks: Annotated[
        bool, typer.Option("--all", help="List every network.", show_default="main networks")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with class names.", show_default="a table")
    ] = False,
) -> None:
    """List the networks: size, cost, available weights and published accuracy."""
    from qcs.models import list_models
    from qcs.models.summary import describe_model, where_weights_are

    names = list_models(pattern or "*", tags=True)
    if not names:
        raise InputError(f"no model matches {pattern!r}; 'qcs models --all' lists all")
    names.sort(key=lambda name: where_weights_are(name) is None)  # those with weights first
    if pattern is None and not all_networks:
        names = [name for name in names if where_weights_are(name) or name.partition(".")[0] in FAMILIES]
    rows = [describe_model(name) for name in names]
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    console.print(_table(rows))
    if any(row.accuracy for row in rows):
        console.print("paper: accuracy that the paper reports; only its authors publish these weights")
    if (known := len(list_models(tags=True))) > len(rows) and pattern is None:
        console.print(f"{len(rows)} of {known} networks; --all lists the others")


def _table(rows: list[ModelSummary]) -> Table:
    """Return a table of 80 columns at most."""
    numbers = ("params", "infer.", "GMACs", "input", "labels", "paper")
    table = Table(
        Column("network", no_wrap=True),
        "weights",
        *(Column(name, justify="right", no_wrap=True) for name in numbers),
        box=None,
        collapse_padding=True,
        pad_edge=False,
    )
    for row in rows:
        table.add_row(
            row.name.removesuffix(".untrained"),
            WEIGHTS.get(row.weights, row.weights),
            _millions(row.parameters),
            _millions(row.inference),
            f"{row.gmacs:.{3 if row.gmacs >= 0.1 else 2}g}",
            "x".join(map(str, row.input_size)),
            str(len(row.classes) or "any"),
            f"{row.accuracy:.2%}" if row.accuracy else "",
        )
    return table


def _millions(count: int) -> str:
    millions = count / 1e6
    return f"{millions:.2f} M" if millions < 100 else f"{millions:.1f} M"
