"""The log of an alignment: which pictures are done, with what outcome, in a form that survives being killed."""

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

MOST_SETTINGS = 10_000  # bytes of the first line


class AlignLog:
    """JSON lines beside the aligned faces: the settings first, then a record per picture, and one where a run begins.

    A picture's record holds `path`, relative to the folder of pictures, and either `crops`, a list of what was cut out
    (`file`, `box`, `score`, `landmarks`), or `skipped`, the reason why nothing was. Opening the log of an earlier run
    goes on with it: a last line that was cut off is removed. One run at a time has it: a lock on the file, which the
    system takes back from a process that is gone.

    Args:
        folder: Where the log lies.
        settings: What decides how faces look; all faces of a folder share them.

    Attributes:
        done: Paths of the pictures that need no second look. Unreadable ones do: they may have been replaced.

    Raises:
        InputError: If the folder holds faces of other settings, or a log that cannot be read or that another run has.
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
        """Append a record, at once on disk as far as this process goes."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def _lock(self) -> None:
        """Keeps other runs out until this process ends in whatever way; not on Windows."""
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{self.path.parent} is being filled by {self._holder()}; wait for its end or stop it, then run the "
                "command again: it goes on with what is left"
            ) from error
        except OSError:  # a file system without locks
            pass

    def _holder(self) -> str:
        """The run that holds the lock, by the last line that a run began with."""
        runs = [line for line in self.path.read_bytes().splitlines() if line.startswith(b'{"process": ')]
        with contextlib.suppress(ValueError, KeyError, TypeError, IndexError):
            run = json.loads(runs[-1])
            return f"process {run['process']} on {run['host']} since {run['started']}"
        return "another process"

    def _begin(self, settings: dict[str, Any]) -> None:
        before = self._records()
        if before and before[0] != settings:
            raise InputError(
                f"{self.path.parent} holds faces cut out with {_told(before[0])}, not {_told(settings)}; choose another"
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
            raise InputError(f"{self.path} is no log of aligned faces: {error}; choose another folder") from error
        if not all(isinstance(record, dict) for record in records):
            raise InputError(f"{self.path} is no log of aligned faces: a line holds no record; choose another folder")
        return records


def crop_of(folder: Path) -> str | None:
    """The crop of the faces in a folder, by the log that lies in it or nearest above it; None where none tells.

    Args:
        folder: The folder, of any depth below the one that the faces were written to.
    """
    for above in (folder.absolute(), *folder.absolute().parents):
        if (above / NAME).is_file():
            try:
                with (above / NAME).open("rb") as file:
                    crop = str(json.loads(file.readline(MOST_SETTINGS))["crop"])
            except (OSError, ValueError, KeyError, TypeError, RecursionError):  # no log of ours
                return None
            return crop if crop in CROPS else None
    return None


def _told(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
