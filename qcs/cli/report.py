"""The command `qcs report`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from qcs.cli.shared import interruptible, notice, option, say
from qcs.imports import require


def report(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Run folders.")],
    output: Annotated[str, typer.Option(help="HTML file to write.")] = "report.html",
    data: Annotated[str | None, option("Images of the runs, if they were moved.", "as in training")] = None,
    image_root: Annotated[
        str | None, option("Folder that the paths of a list are relative to.", "as in training")
    ] = None,
    data_format: Annotated[str | None, option("Format of the data, such as raf_db.", "as in training")] = None,
    groups: Annotated[
        list[str] | None,
        option("Column of a .csv list with groups, such as gender; can be repeated.", "group, if there is one"),
    ] = None,
    group_list: Annotated[
        str | None, option("List (.csv) with the column path and the group columns.", "the data, if it is a list")
    ] = None,
) -> None:
    """Write one HTML report on one or several runs: results, curves, errors, calibration, groups, comparison."""
    require("jinja2", "matplotlib", "scipy", "torchmetrics", extra="report")
    from qcs.report import DataLocation, write_report

    started = time.perf_counter()
    with interruptible():
        location = DataLocation(data, image_root, data_format, tuple(groups or ()), group_list)
        for run in write_report(runs, output, location):
            for line in run.missing:
                notice("yellow", "not shown", f"{run.name}: {line}")
    size = Path(output).stat().st_size
    say(f"wrote {output} ({size / 1e6:.1f} MB, {time.perf_counter() - started:.0f} s)")
