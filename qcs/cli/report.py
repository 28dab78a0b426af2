"""The command that shows what runs came to: `report`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from qcs.cli.shared import console, interruptible, setting
from qcs.cli.shared import report as say
from qcs.imports import require


def report(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run folders.")],
    output: Annotated[str, typer.Option(help="HTML file to write.")] = "report.html",
    data: Annotated[str | None, setting("Where the runs' images are now.", "where they were in training")] = None,
    image_root: Annotated[str | None, setting("Folder that the paths of a list start from.", "the runs'")] = None,
    data_format: Annotated[str | None, setting("Format of the data, as raf_db.", "the runs'")] = None,
    groups: Annotated[
        list[str] | None, setting("Column of a .csv list that says groups, as gender; repeatable.", "group, if any")
    ] = None,
    group_list: Annotated[
        str | None, setting("List (.csv) with the columns path and those of groups.", "the data, where it is one")
    ] = None,
) -> None:
    """Write one HTML file on one run or several: results, curves, errors, calibration, groups, comparison."""
    require("accelerate", "jinja2", "matplotlib", "scipy", "torchmetrics", extra="report")
    from qcs.report import DataLocation, write_report

    started = time.perf_counter()
    with interruptible():
        location = DataLocation(data, image_root, data_format, tuple(groups or ()), group_list)
        for run in write_report(runs, output, location):
            for line in run.missing:
                say("yellow", "not shown", f"{run.name}: {line}")
    size = Path(output).stat().st_size
    done = f"wrote {output} ({size / 1e6:.1f} MB, {time.perf_counter() - started:.0f} s)"
    console.print(done, markup=False, highlight=False, soft_wrap=True)
