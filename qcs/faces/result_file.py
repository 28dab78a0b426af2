"""Write faces as JSON, JSON Lines or CSV, picture by picture."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from qcs.errors import InputError
from qcs.escaping import spreadsheet_text
from qcs.faces.face import LANDMARKS
from qcs.faces.faces import Faces
from qcs.files import writing

SUFFIXES = (".json", ".jsonl", ".csv")
COLUMNS = (
    "path", "frame", "seconds", "number", "track", "left", "top", "right", "bottom", "score",
    *(f"{name}_{axis}" for name in LANDMARKS for axis in "xy"), "quality", "label",
)  # fmt: skip
"""Columns of a CSV file, before those of the probabilities."""


class ResultFile:
    r"""Write faces as they come: a JSON list or JSON Lines with a record per picture, or CSV with a row per face.

    Text in CSV that a spreadsheet would compute (`=1+1`) begins with an apostrophe. Further columns of `Faces.data` are
    in JSON and JSON Lines only.

    JSON Lines and CSV are on disk after each picture, so that a crash loses at most the last one. JSON is written to a
    temporary file and renamed at the end of the context, also after an error or an interrupt. Nothing is written
    without a record.

    Args:
        path: File to write, ending in .json, .jsonl or .csv.
        classes: Class names in index order.
        after: Bytes of the file to keep, which an earlier run wrote (see `qcs.faces.recorded`); results are written
            after them. None begins anew.

    Raises:
        InputError: If the suffix is another one, or .json is to be continued.
        OSError: If the file cannot be written; also of `write`.

    Example:
        >>> import tempfile
        >>> faces = Faces(probabilities=[[0.75, 0.25]], classes=("happy", "sad"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with ResultFile(f"{folder}/out.jsonl", faces.classes) as file:
        ...         file.write(faces)
        ...     Path(folder, "out.jsonl").read_text()
        '{"faces": [{"number": 1, "label": "happy", "probabilities": {"happy": 0.75, "sad": 0.25}}]}\n'
    """

    def __init__(self, path: str | Path, classes: Sequence[str], *, after: int | None = None) -> None:
        check_output(path, resume=after is not None)
        self.path, self.records = Path(path), 0
        self._suffix = self.path.suffix.lower()
        whole = self._suffix == ".json"
        self._place = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp") if whole else self.path
        self._columns, self._after = [*COLUMNS, *classes], after
        self._file: IO[str] | None = None
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_dir():
            raise InputError(f"cannot write {self.path}: it is a folder; choose another name")

    def write(self, faces: Faces) -> None:
        """Write the faces of one picture.

        Raises:
            ValueError: If a value is not finite, which JSON does not know.
        """
        text = self._text(faces)
        with writing(self.path):
            file = self._open() if self._file is None else self._file
            file.write(f"{',' if self._suffix == '.json' and self.records else ''}{text}")
            file.flush()
        self.records += 1

    def __enter__(self) -> ResultFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        try:
            with writing(self.path), self._file:
                if self._suffix == ".json":
                    self._file.write("\n]\n")
            if self._place != self.path:
                os.replace(self._place, self.path)
        finally:
            if self._place != self.path:
                self._place.unlink(missing_ok=True)

    def _open(self) -> IO[str]:
        if self._after:
            os.truncate(self._place, self._after)
        mode = "a" if self._after else "w"
        self._file = self._place.open(mode, encoding="utf-8", errors="backslashreplace", newline="")
        if not self._after:
            self._file.write({".csv": _csv([self._columns]), ".json": "["}.get(self._suffix, ""))
        return self._file

    def _text(self, faces: Faces) -> str:
        record = faces.to_dict()
        if self._suffix == ".csv":
            return _csv([row.get(name, "") for name in self._columns] for row in _rows(record))
        text = json.dumps(record, allow_nan=False)
        return f"{text}\n" if self._suffix == ".jsonl" else f"\n{text}"


def check_output(path: str | Path, *, resume: bool = False) -> None:
    """Check that results can be written under that name.

    Args:
        path: The file.
        resume: Whether results that an earlier run wrote are to be continued.

    Raises:
        InputError: If the suffix is none of .json, .jsonl and .csv, or that of a file that cannot be continued.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"output must end in .json, .jsonl or .csv, got {path}")
    if resume and Path(path).suffix.lower() == ".json":
        raise InputError(f"{path} cannot be continued: JSON is written at the end; choose .jsonl or .csv")


def _rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Turn a record into rows of a table, one per face; probabilities have four digits."""
    origin: dict[str, Any] = {name: record[name] for name in ("path", "frame", "seconds") if name in record}
    for face in record["faces"]:
        row: dict[str, Any] = {**origin}
        row |= {name: face[name] for name in ("number", "track", "score", "quality", "label") if name in face}
        row |= dict(zip(("left", "top", "right", "bottom"), face.get("box", ()), strict=False))
        places = itertools.chain(*face.get("landmarks", {}).values())
        row |= dict(zip((f"{name}_{axis}" for name in LANDMARKS for axis in "xy"), places, strict=False))
        row |= {name: f"{value:.4f}" for name, value in face.get("probabilities", {}).items()}
        yield row


def _csv(rows: Iterator[Sequence[Any]] | Sequence[Sequence[Any]]) -> str:
    """Return rows of a table, in which no cell is a formula."""
    text = io.StringIO()
    csv.writer(text).writerows(
        [spreadsheet_text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows
    )
    return text.getvalue()
