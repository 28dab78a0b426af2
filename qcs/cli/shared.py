"""Options, output and errors that the commands share."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text
from typer.models import OptionInfo

from qcs.escaping import printable

console = Console()


def option(help: str, default: str) -> OptionInfo:
    """Return an optional option whose help describes its default in words."""
    chosen: OptionInfo = typer.Option(help=help, show_default=default)
    return chosen


Data = Annotated[str, typer.Option(help="Images: .npz archive, folder per class, or .txt, .lst or .csv list.")]
ImageRoot = Annotated[str | None, option("Folder that the paths of a list are relative to.", "the folder of the list")]
DataFormat = Annotated[str | None, option("Format of the data, such as raf_db; an unknown name lists all.", "detected")]
Split = Annotated[str, typer.Option(help="Split of the data: train, validation, test or all.")]
Weights = Annotated[
    str,
    typer.Argument(
        help="Trained weights: run folder, .safetensors file, hf-hub:ORG/NAME, or a name such as qcs_small."
    ),
]
Tta = Annotated[
    bool,
    typer.Option(
        "--tta",
        help="Test-time augmentation: average with the flipped image, at twice the cost.",
        show_default="off",
    ),
]
Crop = Annotated[
    str | None,
    option("Crop template of the faces: fer2013, arcface or loose.", "that of the training, or fer2013 if unknown"),
]
MinFace = Annotated[int | None, option("Smallest face to detect, in pixels.", "1/40 of the shorter side, at least 20")]


def cell(text: str) -> Text:
    """Return a name as a cell of a table, without markup and control characters."""
    return Text(printable(text))


def say(text: str) -> None:
    """Print one line as it is: no markup, no highlighting, no wrapping, control characters escaped."""
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def notice(color: str, kind: str, message: str) -> None:
    """Print a message as one line on the error stream."""
    line = printable(" ".join(message.splitlines()))
    Console(stderr=True, soft_wrap=True).print(f"[{color}]{kind}:[/{color}] {escape(line)}", highlight=False)


def fail(message: str, status: int) -> NoReturn:
    """Print an error and exit."""
    notice("red", "error", message)
    sys.exit(status)


@contextmanager
def interruptible() -> Iterator[None]:
    """Exit with a line on the error stream and status 130 where Ctrl-C ends a long command, 143 where SIGTERM does."""
    try:
        yield
    except KeyboardInterrupt as error:
        if getattr(error, "signal", signal.SIGINT) == signal.SIGTERM:
            fail("terminated", 128 + signal.SIGTERM)
        fail("interrupted", 128 + signal.SIGINT)
