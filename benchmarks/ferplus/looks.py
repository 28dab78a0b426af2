"""Keep an append-only log of every look at the test set.

Selection on test images needs no intent: it is enough to look often. A line is written before each measurement and
another one after it, so a measurement that was abandoned is in the log too.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

LOG = "test_looks.jsonl"  # in the folder of results


@contextmanager
def look(results: Path, command: str, weights: str | None, what: str) -> Iterator[dict[str, Any]]:
    """Record a measurement on test images: a line at its start and one at its end.

    Args:
        results: Folder of the log; it is created if it is missing.
        command: What measures, such as `"benchmarks.ferplus embed"`.
        weights: SHA-256 of the measured weights; None while they are not trained yet.
        what: What is measured, in words.

    Yields:
        A dict for the figures that were seen; they are written at the end.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with look(Path(folder), "example", None, "test") as seen:
        ...         seen["accuracy"] = 0.5
        ...     [line["event"] for line in read_looks(Path(folder))]
        ['started', 'finished']
    """
    common = {"look": uuid.uuid4().hex[:12], "command": command, "weights": weights, "what": what}
    seen: dict[str, Any] = {}
    _append(results / LOG, {**common, "event": "started"})
    try:
        yield seen
    except BaseException as error:
        _append(results / LOG, {**common, "event": f"ended by {type(error).__name__}", "figures": seen})
        raise
    _append(results / LOG, {**common, "event": "finished", "figures": seen})


def read_looks(results: Path) -> list[dict[str, Any]]:
    """Return the lines of the log, oldest first."""
    path = results / LOG
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _append(path: Path, entry: dict[str, Any]) -> None:
    """Append one line in one write, so that lines of several processes do not mix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), **entry}) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
