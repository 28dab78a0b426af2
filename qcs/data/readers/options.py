"""Define the options of readers and the description of a format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from qcs.data.readers.table import Table


class Options(NamedTuple):
    """Options of the caller.

    Attributes:
        image_root: Folder that image names are relative to; None for the one of the format.
        votes: Vote rule for FERPlus, see `qcs.data.votes.RULES`.
    """

    image_root: Path | None
    votes: str


class Format(NamedTuple):
    """A storage format of labeled images.

    Attributes:
        layout: The expected files, one line each.
        recognizes: Returns whether a path certainly has this format.
        read: Reads a path to a table.
    """

    layout: tuple[str, ...]
    recognizes: Callable[[Path], bool]
    read: Callable[[Path, Options], Table]
