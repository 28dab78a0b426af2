"""Write the HTML page on the results of a bench: one self-contained file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from qcs.crossval.results import MEASURES, Result, Results
from qcs.crossval.tables import FAILED, NOTE, TESTS, compared, figure, protocols, repeats
from qcs.engine.training.settings import setting_text
from qcs.errors import InputError
from qcs.escaping import encodable
from qcs.files import write_text
from qcs.version import __version__


def write_comparison(results: Results, output: str | Path) -> Path:
    """Write the HTML page on the results of a bench: tables, paired tests, failed repeats, settings, data.

    Args:
        results: What `qcs.crossval.read_results` returns.
        output: HTML file to write.

    Returns:
        The file.

    Raises:
        InputError: If the output is not an HTML file.
        OSError: If it cannot be written.
    """
    if Path(output).suffix.lower() not in (".html", ".htm"):
        raise InputError(f"the report is an HTML file: its name must end in .html, got {output}")
    environment = Environment(
        loader=PackageLoader("qcs.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = files("qcs.report").joinpath("templates/style.css").read_text(encoding="utf-8")
    names = dict.fromkeys(each.cell.network for each in results.results)
    page = environment.get_template("crossval.html").render(
        title="Comparison of networks by repeated runs",
        subtitle=f"{', '.join(names)} on {', '.join(dict.fromkeys(data for _, data in results.settings))}",
        missing=[str(cell) for cell in results.missing],
        parts=[_part(results, protocol, data) for protocol, data in results.settings],
        protocols=protocols(results),
        failed=[(str(each.cell), each.record["error"]) for each in results.results if each.failed],
        settings=_settings(results),
        environments=list(_environments(results)),
        measures=MEASURES,
        notes=(NOTE, FAILED, TESTS),
        style=Markup(style),
        version=__version__,
    )
    return write_text(Path(output), encodable(page))


def _part(results: Results, protocol: str, data: str) -> dict[str, Any]:
    """What the page shows of a data set by one protocol."""
    rows = results.rows(protocol, data)
    about = rows[0].results[0].record["data"]
    return {
        "id": f"{protocol}-{data}",
        "title": f"{data}, {protocol}",
        "rows": [
            {"network": row.network, "figures": [figure(row, name) for name in MEASURES], "repeats": repeats(row)}
            for row in rows
        ],
        "tests": {
            words: [
                {"pair": f"{each.first} − {each.second}", "cells": [*compared(each), str(each.test.repeats)]}
                for each in results.comparisons(protocol, data, name)
            ]
            for name, words in MEASURES.items()
        },
        "data": _about(about),
    }


def _about(data: dict[str, Any]) -> list[tuple[str, str]]:
    sizes = {name: sum(counts.values()) for name, counts in data["split"].items()}
    shared = data["groups_shared_with_training"]
    lines = [
        ("Images of repeat 0", ", ".join(f"{size:,} {name}" for name, size in sizes.items())),
        ("Left out in repeat 0", f"{data['left_out']:,}"),
        ("Test images of a group with training images", f"{shared['test']:,}"),
        ("Groups", ", ".join(data["grouped_by"])),
        ("Test set", "official, the same in every repeat" if data["official_test"] else "drawn in every repeat"),
        ("SHA-256 of the files", data["sha256"]),
        ("SHA-256 of images and labels", data["content_sha256"]),
    ]
    return [*lines, ("Drawn from", f"{data['drawn_from']:,} images")] if "drawn_from" in data else lines


def _settings(results: Results) -> list[tuple[str, dict[str, str]]]:
    """The settings of each network on each data set, those of equal settings once."""
    found: dict[str, list[str]] = {}
    for each in results.results:
        names = found.setdefault(json.dumps(each.record["settings"]), [])
        name = f"{each.cell.network} on {each.cell.data}"
        names += [] if name in names else [name]
    return [
        (", ".join(names), {name: setting_text(value) for name, value in json.loads(settings).items()})
        for settings, names in found.items()
    ]


def _environments(results: Results) -> Iterator[tuple[int, dict[str, str]]]:
    """Each environment that results come from, with their number."""
    found: dict[str, list[Result]] = {}
    for each in results.results:
        found.setdefault(json.dumps(each.record["environment"]), []).append(each)
    for text, of in found.items():
        yield len(of), {name: setting_text(value) for name, value in json.loads(text).items()}
