"""Read the results that an earlier run wrote, to go on after them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

from qcs.errors import InputError, brief
from qcs.escaping import encodable, spreadsheet_text
from qcs.faces.face import LANDMARKS
from qcs.faces.faces import Faces
from qcs.faces.picture import Picture
from qcs.faces.result_file import COLUMNS, check_output


class Recorded:
    r"""The results in a JSON Lines or CSV file, by picture; a missing file holds none.

    The file may end in the middle of a record, as a killed run leaves it. Of CSV the last picture does not count, since
    rows of its other faces may be missing. The memory used grows with the number of files, not of frames.

    Args:
        path: File that `ResultFile` wrote.
        classes: Class names of the results to come.

    Attributes:
        end: Bytes of the file that hold complete records; write after them.
        records: Number of complete records.

    Raises:
        InputError: If the file is no such file, or its results have other classes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "out.jsonl")
        ...     _ = path.write_text('{"path": "a.png", "faces": []}\n{"path": "b.p')
        ...     recorded = Recorded(path, ["happy", "sad"])
        ...     recorded.end, recorded.of(Picture("a.png", None, Path("a.png")))
        (31, a.png: no face)
    """

    def __init__(self, path: str | Path, classes: Sequence[str]) -> None:
        check_output(path, resume=True)
        self._path, self._classes, self.end, self.records = Path(path), tuple(map(encodable, classes)), 0, 0
        self._table = self._path.suffix.lower() == ".csv"
        self._start: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._video: tuple[str, Iterator[tuple[int, int, dict[str, Any]]]] | None = None
        self._next: dict[str, Any] | None = None
        if not self._path.exists():
            return
        for start, end, record in self._read(0):
            name, frame = record.get("path", ""), record.get("frame")
            self._start.setdefault(name, start)
            if frame is not None:
                self._last[name] = frame
            self._check(record)
            self.end, self.records = end, self.records + 1

    def of(self, picture: Picture) -> Faces | None:
        """Return the faces of a picture that the file holds; None if they are to be computed.

        Frames of a video are asked for in their order. A frame before the last one of its video counts as computed,
        also if the file holds no face of it.
        """
        name = spreadsheet_text(encodable(picture.path)) if self._table else encodable(picture.path)
        if name not in self._start:
            return None
        if picture.frame is None:
            record = next(self._read(self._start[name]))[2] if name not in self._last else None
        elif picture.frame > self._last.get(name, -1):
            return None
        else:
            record = self._of_frame(name, picture.frame)
        if record is None:
            return Faces.of([], picture)
        return Faces.from_dict(record, picture)

    def _of_frame(self, name: str, frame: int) -> dict[str, Any] | None:
        """Return the record of a frame, reading on from that of the frame before."""
        if self._video is None or self._video[0] != name:
            self._video, self._next = (name, self._read(self._start[name])), None
        while True:
            if self._next is None:
                self._next = next(self._video[1], (0, 0, {"path": ""}))[2]
            if self._next.get("path") != name or int(self._next.get("frame", -1)) > frame:
                return None
            record, self._next = self._next, None
            if record.get("frame") == frame:
                return record

    def _read(self, start: int) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Yield start, end and content of each complete record from a place in the file on."""
        read = self._read_table if self._table else self._read_lines
        with self._path.open("rb") as file:
            yield from read(file, start)

    def _read_lines(self, file: BinaryIO, start: int) -> Iterator[tuple[int, int, dict[str, Any]]]:
        file.seek(start)
        for line in file:
            end = start + len(line)
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
                if not isinstance(record["faces"], list):
                    raise TypeError("faces is no list")
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise self._refusal(f"line {brief(line.decode(errors='replace'), 60)!r} is no record") from error
            yield start, end, record
            start = end

    def _read_table(self, file: BinaryIO, start: int) -> Iterator[tuple[int, int, dict[str, Any]]]:
        lines = _Lines(file)
        reader = csv.reader(lines)
        header = next(reader, [])
        expected = [*COLUMNS, *map(spreadsheet_text, self._classes)]
        if header and lines.complete and header != expected:
            raise self._refusal("its columns differ, so its results have other classes or are of another kind")
        self.end = self.end or (lines.at if lines.complete else 0)
        if start:
            lines.seek(start)

        def rows() -> Iterator[tuple[int, int, dict[str, str]]]:
            while True:
                before = lines.at
                row = next(reader, None)
                if row is None or not lines.complete:
                    return
                if len(row) != len(expected):
                    raise self._refusal(f"a row has {len(row)} cells, not {len(expected)}")
                yield before, lines.at, dict(zip(expected, row, strict=True))

        # The first reading, from the start, leaves out the last group: rows of its other faces may be missing.
        group: list[tuple[int, int, dict[str, str]]] = []
        for _, found in groupby(rows(), lambda each: (each[2]["path"], each[2]["frame"])):
            if group and not start:
                yield group[0][0], group[-1][1], self._record([row for _, _, row in group])
            group = list(found)
            if start:
                yield group[0][0], group[-1][1], self._record([row for _, _, row in group])

    def _record(self, rows: list[dict[str, str]]) -> dict[str, Any]:
        """Return the record of the faces of one picture from its rows."""
        try:
            record: dict[str, Any] = {"path": rows[0]["path"], "faces": [self._face(row) for row in rows]}
            if rows[0]["frame"]:
                record |= {"frame": int(rows[0]["frame"]), "seconds": float(rows[0]["seconds"] or "nan")}
        except ValueError as error:
            raise self._refusal(f"a cell is no number: {error}") from error
        return record

    def _face(self, row: dict[str, str]) -> dict[str, Any]:
        face: dict[str, Any] = {}
        if row["track"]:
            face["track"] = int(row["track"])
        if row["left"]:
            face["box"] = [float(row[edge]) for edge in ("left", "top", "right", "bottom")]
            face["landmarks"] = {name: [float(row[f"{name}_{axis}"]) for axis in "xy"] for name in LANDMARKS}
        face |= {name: float(row[name]) for name in ("score", "quality") if row[name]}
        face["probabilities"] = {name: float(row[spreadsheet_text(name)]) for name in self._classes}
        return face

    def _check(self, record: dict[str, Any]) -> None:
        for face in record["faces"]:
            names = tuple(face.get("probabilities", self._classes)) if isinstance(face, dict) else ()
            if names != self._classes:
                raise self._refusal(f"its classes are {', '.join(map(str, names))}, not {', '.join(self._classes)}")

    def _refusal(self, reason: str) -> InputError:
        return InputError(f"{self._path} cannot be continued: {reason}; choose another output, or leave out --resume")


class _Lines(Iterator[str]):
    """Lines of a file as text, with the place after the last one and whether that one is complete."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.at, self.complete = file, 0, True

    def __next__(self) -> str:
        line = self._file.readline()
        if not line:
            raise StopIteration
        self.at, self.complete = self.at + len(line), line.endswith(b"\n")
        return line.decode(errors="replace")

    def seek(self, place: int) -> None:
        self._file.seek(place)
        self.at = place
