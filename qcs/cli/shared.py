"""What the commands share: their options, what they print to, and how they fail."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

console = Console()

Data = Annotated[str, typer.Option(help="Images: .npz archive, folder per class, or .txt/.lst/.csv list.")]
ImageRoot = Annotated[
    str | None, typer.Option(help="Folder that the paths of a list start from.", show_default="the folder of the list")
]
DataFormat = Annotated[
    str | None,
    typer.Option(help="Format of the data, as raf_db; an unknown name lists all.", show_default="recognised"),
]
Weights = Annotated[
    str,
    typer.Argument(
        help="Run folder, a .safetensors file written by a run, hf-hub:ORG/NAME, or qcs_small for those in the package."
    ),
]


def setting(help: str, default: str = "the recipe's") -> Any:
    """An option that says what holds where it is not given."""
    return typer.Option(help=help, show_default=default)


@contextmanager
def interruptible() -> Iterator[None]:
    """Says that it was the user who stopped a long command."""
    try:
        yield
    except KeyboardInterrupt:
        fail("interrupted", 130)


def fail(message: str, status: int) -> None:
    report("red", "error", message)
    sys.exit(status)


def report(colour: str, kind: str, message: str) -> None:
    """One line on the error stream, whatever the message holds."""
    line = " ".join(message.splitlines())
    Console(stderr=True, soft_wrap=True).print(f"[{colour}]{kind}:[/{colour}] {escape(line)}", highlight=False)
