"""What a reader is told beside the path, and what one consists of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from qcs.data.readers.table import Table


class Options(NamedTuple):
    """Choices of the caller.

    Attributes:
        image_root: Folder that image names start from, where it is not where the format has it.
        votes: How FERPlus votes become labels, see `qcs.data.votes.RULES`.
    """

    image_root: Path | None
    votes: str


class Format(NamedTuple):
    """One way to store labeled images.

    Attributes:
        layout: The files it expects, a line for each.
        recognizes: Whether a path holds this format beyond doubt.
        read: Reads a path.
    """

    layout: tuple[str, ...]
    recognizes: Callable[[Path], bool]
    read: Callable[[Path, Options], Table]
