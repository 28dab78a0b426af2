"""The command line: parse, call, print."""

from __future__ import annotations

import threading
import warnings

import typer

from qcs.cli import data, report, serve, shared, train, use, visualize, zoo
from qcs.errors import InputError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Quadruplet Cross Similarity for facial expression recognition.",
)
for command in (
    train.train,
    use.evaluate,
    use.predict,
    report.report,
    serve.serve,
    visualize.visualize,
    zoo.models,
    zoo.push,
    zoo.convert,
    zoo.export,
    train.demo,
):
    app.command()(command)
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command line; bad input ends in one clear line and a non-zero status."""
    threading.excepthook = lambda _: None  # TensorBoard's writer raises its error again where it is caught
    warnings.showwarning = lambda message, *place: shared.report("yellow", "warning", str(message))
    try:
        app(prog_name="qcs")
    except InputError as error:
        # From a process that loads images it comes with that process's traceback, which ends in the message.
        shared.fail(str(error).rpartition("InputError: ")[2], 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        shared.fail(f"{where}{error.strerror or error}", 1)
