"""Log the outcome of every aligned image, so that an interrupted run can resume."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from qcs.errors import InputError
from qcs.faces.alignment import CROPS

NAME = "align.jsonl"

MOST_SETTINGS = 10_000  # bytes to read of the first line


class AlignLog:
    """Write JSON lines beside the aligned faces: the settings, a record per image, and a record per start of a run.

    The record of an image holds `path`, relative to the source folder, and either `crops`, a list of faces (`file`,
    `box`, `score`, `landmarks`), or `skipped`, the reason why there are none. Opening the log of an earlier run
    continues it and removes an incomplete last line. A file lock allows one run at a time; the operating system
    releases it when the process ends.

    Args:
        folder: Folder of the log.
        settings: Settings of the crops; all faces of a folder share them.

    Attributes:
        done: Paths of the images that are finished. Unreadable images are not: they may have been replaced.

    Raises:
        InputError: If the folder holds faces with other settings, or the log is corrupt or in use by another run.
        OSError: If the log cannot be written.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.path = folder / NAME
        self.done: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8")
        try:
            self._lock()
            self._begin(settings)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> AlignLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, record: dict[str, Any]) -> None:
        """Append a record and flush it."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def _lock(self) -> None:
        """Lock the log until this process ends; not on Windows."""
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{self.path.parent} is in use by {self._holder()}; wait until it ends or stop it, then run the "
                "command again to continue"
            ) from error
        except OSError:  # a file system without locks
            pass

    def _holder(self) -> str:
        """Describe the run that holds the lock, from its record in the log."""
        runs = [line for line in self.path.read_bytes().splitlines() if line.startswith(b'{"process": ')]
        with contextlib.suppress(ValueError, KeyError, TypeError, IndexError):
            run = json.loads(runs[-1])
            return f"process {run['process']} on {run['host']} since {run['started']}"
        return "another process"

    def _begin(self, settings: dict[str, Any]) -> None:
        before = self._records()
        if before and before[0] != settings:
            raise InputError(
                f"{self.path.parent} holds faces with {_listed(before[0])}, not {_listed(settings)}; choose another "
                "folder"
            )
        self.done.update(record["path"] for record in before if "path" in record and "unreadable" not in record)
        if not before:
            self.add(settings)
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        self.add({"process": os.getpid(), "host": socket.gethostname(), "started": started})

    def _records(self) -> list[dict[str, Any]]:
        text = self.path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            os.truncate(self.path, len(whole))
        try:
            records = [json.loads(line) for line in whole.splitlines()]
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.path} is not a log of aligned faces: {error}; choose another folder") from error
        if not all(isinstance(record, dict) for record in records):
            raise InputError(
                f"{self.path} is not a log of aligned faces: a line is not a record; choose another folder"
            )
        return records


def crop_of(folder: Path) -> str | None:
    """Return the crop of the faces in a folder, from the log in it or in the nearest parent; None if unknown.

    Args:
        folder: The target folder of an alignment, or any folder below it.
    """
    for above in (folder.absolute(), *folder.absolute().parents):
        if (above / NAME).is_file():
            try:
                with (above / NAME).open("rb") as file:
                    crop = str(json.loads(file.readline(MOST_SETTINGS))["crop"])
            except (OSError, ValueError, KeyError, TypeError, RecursionError):  # not a log of aligned faces
                return None
            return crop if crop in CROPS else None
    return None


def _listed(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
