"""The command line: parse, call, print. Each command imports what it computes with when it runs."""

from __future__ import annotations

import io
import sys
import threading
import warnings
from typing import Annotated

import typer

from qcs.cli import (
    convert,
    crossval,
    data,
    demo,
    evaluate,
    export,
    models,
    predict,
    push,
    report,
    serve,
    shared,
    train,
    visualize,
)
from qcs.errors import InputError
from qcs.imports import DISTRIBUTION
from qcs.version import __version__

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Quadruplet Cross Similarity for facial expression recognition.",
)


def show_version(wanted: bool) -> None:
    """Print the version and end, before a command is asked for."""
    if wanted:
        typer.echo(f"{DISTRIBUTION} {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Quadruplet Cross Similarity for facial expression recognition."""


for command in (
    train.train,
    crossval.crossval,
    evaluate.evaluate,
    predict.predict,
    report.report,
    serve.serve,
    visualize.visualize,
    models.models,
    push.push,
    convert.convert,
    export.export,
    demo.demo,
):
    app.command()(command)
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command line; bad input ends with one line on the error stream and a non-zero status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a letter that its encoding lacks is escaped, and ends nothing
            stream.reconfigure(errors="backslashreplace")
    threading.excepthook = lambda _: None  # TensorBoard's writer raises its error again where it is caught
    warnings.showwarning = lambda message, *place: shared.notice("yellow", "warning", str(message))
    try:
        app(prog_name="qcs")
    except InputError as error:
        # From a process that loads images it comes with that process's traceback, which ends in the message.
        shared.fail(str(error).rpartition("InputError: ")[2], 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        shared.fail(f"{where}{error.strerror or error}", 1)
