"""Write the HTML report: one self-contained file."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from qcs.engine.reliability import BINS, reliability
from qcs.engine.training.settings import setting_text
from qcs.errors import InputError
from qcs.escaping import encodable
from qcs.files import write_text
from qcs.report import text
from qcs.report.compare import Configuration, configurations, differing, pairs, seed_tests
from qcs.report.gather import DataLocation, Run, gather
from qcs.report.inline_images import plain_text
from qcs.report.sections import curves, run_context
from qcs.report.statistics import ROUNDS
from qcs.version import __version__
from qcs.visualize.figure import PALETTE

DEFAULT_LOCATION = DataLocation()

FIGURES = {
    "Test accuracy": lambda run: run.results["test"].accuracy if "test" in run.results else None,
    "Balanced accuracy": lambda run: run.results["test"].balanced_accuracy if "test" in run.results else None,
    "Calibration error": lambda run: reliability(run.predictions).error if run.predictions else None,
    "Validation accuracy": lambda run: run.results["validation"].accuracy if "validation" in run.results else None,
}


def write_report(
    paths: Sequence[str | Path], output: str | Path, location: DataLocation = DEFAULT_LOCATION
) -> list[Run]:
    """Write the HTML report on one run or several.

    Args:
        paths: Run folders.
        output: HTML file to write.
        location: Where the test images of the runs are, and which list holds their groups.

    Returns:
        The runs; `missing` of each says what cannot be shown.

    Raises:
        InputError: If a folder holds no run, requested groups cannot be read, or the output is not an HTML file.
        OSError: If the file cannot be written.
    """
    if Path(output).suffix.lower() not in (".html", ".htm"):
        raise InputError(f"the report is an HTML file: its name must end in .html, got {output}")
    runs = gather(paths, location)
    write_text(Path(output), encodable(render(runs)))
    return runs


def render(runs: Sequence[Run]) -> str:
    """Return the report on runs as HTML."""
    environment = Environment(
        loader=PackageLoader("qcs.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for write in (text.percent, text.points, text.number, text.probability, setting_text, text.tone, text.verdict):
        environment.globals[write.__name__] = write
    style = files("qcs.report").joinpath("templates/style.css").read_text(encoding="utf-8")
    with plain_text():
        return environment.get_template("report.html").render(
            title=f"Report of {runs[0].name}" if len(runs) == 1 else f"Report of {len(runs)} runs",
            subtitle=_subtitle(runs),
            runs=[run_context(run, f"run-{place}") for place, run in enumerate(runs, start=1)],
            comparison=_comparison(runs) if len(runs) > 1 else None,
            style=Markup(style),
            version=__version__,
            rounds=text.number(ROUNDS),
            bins=BINS,
        )


def _subtitle(runs: Sequence[Run]) -> str:
    data = ", ".join(dict.fromkeys(run.data for run in runs))
    models = ", ".join(dict.fromkeys(str(run.config.get("model")) for run in runs))
    return f"{models} on {data}"


def _comparison(runs: Sequence[Run]) -> dict[str, Any]:
    found = configurations(runs)
    figures = {name: figure for name, figure in FIGURES.items() if any(each.measured(figure) for each in found)}
    return {
        "figures": list(figures),
        "repeated": any(len(each.runs) > 1 for each in found),
        "rows": [_row(each, figures) for each in found],
        "differing": differing(found),
        "pairs": pairs(found),
        "seeds": seed_tests(found),
        "curves": _shared_curves(runs),
    }


def _row(each: Configuration, figures: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": each.name,
        "runs": ", ".join(run.name for run in each.runs),
        "cells": [text.over_seeds(each.measured(figure)) for figure in figures.values()],
    }


def _shared_curves(runs: Sequence[Run]) -> list[Markup]:
    """Draw the curves of all runs in one figure, if there are enough colors."""
    histories = {run.name: run.history for run in runs if run.history}
    if not 1 < len(histories) <= len(PALETTE):
        return []
    try:
        return curves(histories, "all runs")
    except InputError:  # a history holds nothing to draw; the section of that run says so
        return []
