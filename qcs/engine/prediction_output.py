"""Write predictions as JSON, JSON Lines or CSV, and copies of pictures and videos with their faces marked."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from PIL import Image

from qcs.engine.prediction import PicturePrediction
from qcs.errors import InputError
from qcs.escaping import spreadsheet_text
from qcs.faces import LANDMARKS
from qcs.faces.image_file import write_image
from qcs.faces.media import image_files, missing, no_images
from qcs.files import writing

SUFFIXES = (".json", ".jsonl", ".csv")
ORIGIN = ("path", "frame", "seconds")
PLACE = (
    "number", "left", "top", "right", "bottom", "score", *(f"{name}_{axis}" for name in LANDMARKS for axis in "xy")
)  # fmt: skip
"""Columns of a CSV file that locate a face."""


class PredictionFile:
    """Write predictions as they come: a JSON list or JSON Lines with a record per image, or CSV with a row per face.

    Text in CSV that a spreadsheet would compute (`=1+1`) begins with an apostrophe.

    JSON Lines and CSV are written row by row, so that a crash loses at most the last one. JSON is written to a
    temporary file and renamed at the end of the context, also after an error or an interrupt. Nothing is written
    without a record.

    Args:
        path: File to write, ending in .json, .jsonl or .csv.
        classes: Class names in index order.
        pictures: Whether records are those of pictures, with a list of faces, not those of single faces.

    Raises:
        InputError: If the suffix is another one.
        OSError: If the file cannot be written; also of `add`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with PredictionFile(f"{folder}/out.csv", ["happy", "sad"], pictures=False) as file:
        ...         file.add({"path": "a.png", "label": "happy", "probabilities": {"happy": 0.75, "sad": 0.25}})
        ...     Path(folder, "out.csv").read_text().splitlines()
        ['path,label,happy,sad', 'a.png,happy,0.7500,0.2500']
    """

    def __init__(self, path: str | Path, classes: Sequence[str], *, pictures: bool) -> None:
        check_output(path)
        self.path, self.records = Path(path), 0
        self._suffix = self.path.suffix.lower()
        whole = self._suffix == ".json"
        self._place = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp") if whole else self.path
        self._columns = [*(("path",) if not pictures else (*ORIGIN, *PLACE)), "label", *classes]
        self._file: IO[str] | None = None
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_dir():
            raise InputError(f"cannot write {self.path}: it is a folder; choose another name")

    def add(self, record: dict[str, Any]) -> None:
        """Write the record of one image, as `Prediction.to_dict` or `PicturePrediction.to_dict` returns it."""
        with writing(self.path):
            if self._file is None:
                self._file = self._place.open("w", encoding="utf-8", errors="backslashreplace", newline="")
                self._file.write(self._head())
            if self._suffix == ".csv":
                csv.DictWriter(self._file, self._columns).writerows(_rows(record))
            else:
                text = json.dumps(record, allow_nan=False)
                self._file.write(f"{text}\n" if self._suffix == ".jsonl" else f"{',' if self.records else ''}\n{text}")
            self._file.flush()
        self.records += 1

    def __enter__(self) -> PredictionFile:
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

    def _head(self) -> str:
        if self._suffix == ".csv":
            return _line_of(self._columns)
        return "[" if self._suffix == ".json" else ""


def check_output(path: str | Path) -> None:
    """Check that predictions can be written under that name.

    Raises:
        InputError: If the suffix is none of .json, .jsonl and .csv.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"output must end in .json, .jsonl or .csv, got {path}")


def face_files(sources: Sequence[str | Path]) -> list[Path]:
    """Return the given image files and those below the given folders.

    Raises:
        InputError: If a source does not exist, or if there is no image.
    """
    files: list[Path] = []
    for source in map(Path, sources):
        if not source.exists():
            raise missing(str(source))
        files += image_files(source) if source.is_dir() else [source]
    if not files:
        raise no_images(sources)
    return files


class AnnotatedPictures:
    """Copies of pictures with their faces marked, in one folder, each under a name of its own; a video is one file.

    Use it as a context: its end completes the last video.

    Args:
        folder: Folder to write to.
        sources: Files and folders that are read; no copy replaces one of their files.

    Attributes:
        paths: The files written, in order.
    """

    def __init__(self, folder: str | Path, sources: Sequence[str | Path]) -> None:
        self.folder = Path(folder)
        self.paths: dict[Path, None] = {}
        self._sources = {path.resolve() for path in _files(sources)}
        self._video: _AnnotatedVideo | None = None
        self._source = ""

    def __enter__(self) -> AnnotatedPictures:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def write(self, prediction: PicturePrediction) -> None:
        """Write the copy of one picture, or add a frame to that of its video.

        Raises:
            InputError: If it would replace a picture that is read, or its format cannot be written.
            OSError: If it cannot be written.
        """
        picture = prediction.picture
        if picture.rate is None:
            self.finish()
            path = self._free(self.folder / picture.place)
            write_image(prediction.annotated(), path)
            self.paths[path] = None
            return
        if self._source != picture.path:
            self.finish()
            self._source = picture.path  # a video that cannot be written is one error, not one per frame
            name = self.folder / picture.place.with_name(f"{Path(picture.path).stem}.mp4")
            self._video = _AnnotatedVideo(self._free(name), picture.rate, picture.image.size)
        if self._video is not None:
            self._video.add(prediction.annotated(), picture.seconds or 0.0)

    def finish(self) -> None:
        """Complete the video that is being written, if there is one.

        Raises:
            OSError: If it cannot be written.
        """
        video, self._video, self._source = self._video, None, ""
        if video is not None:
            video.close()
            self.paths[video.path] = None

    def _free(self, place: Path) -> Path:
        path, number = place, 2
        while path in self.paths:
            path, number = place.with_stem(f"{place.stem}-{number}"), number + 1
        if path.resolve() in self._sources:
            raise InputError(f"the annotated picture would replace its original {path}; choose another folder")
        return path


class _AnnotatedVideo:
    """Write an MP4 file under a temporary name; a frame that is missing shows the one before."""

    def __init__(self, path: Path, rate: float, size: tuple[int, int]) -> None:
        import cv2

        self.path, self._rate, self._frames = path, rate if 0 < rate < 1000 else 25.0, 0
        self._place = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")  # the suffix decides the format
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._size, self._before = size, np.zeros((size[1], size[0], 3), np.uint8)
        self._writer = cv2.VideoWriter(str(self._place), cv2.VideoWriter.fourcc(*"mp4v"), self._rate, size)
        if not self._writer.isOpened():
            self._discard()
            raise OSError(f"cannot write {path}: OpenCV cannot open a video of {size[0]}x{size[1]} pixels there")

    def add(self, image: Image.Image, seconds: float) -> None:
        import cv2

        pixels = cv2.cvtColor(np.asarray(image.resize(self._size)), cv2.COLOR_RGB2BGR)
        missing = min(round(seconds * self._rate) - self._frames, MOST_MISSING)
        for _ in range(missing):
            self._writer.write(self._before)
        self._writer.write(pixels)
        self._frames += max(0, missing) + 1
        self._before = pixels

    def close(self) -> None:
        self._writer.release()
        try:
            with writing(self.path):
                os.replace(self._place, self.path)
        finally:
            self._discard()

    def _discard(self) -> None:
        with contextlib.suppress(OSError):
            self._place.unlink(missing_ok=True)


MOST_MISSING = 1000  # missing frames in a row that one frame fills


def _files(sources: Sequence[str | Path]) -> Iterator[Path]:
    for source in map(Path, sources):
        yield from image_files(source) if source.is_dir() else [source]


def _rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Turn a record into rows of a table, one per face; probabilities have four digits, and no cell is a formula."""
    origin = {name: record[name] for name in ORIGIN if name in record}
    for face in record.get("faces", [record]):
        place = (
            [face["number"], *face["box"], face["score"], *itertools.chain(*face["landmarks"].values())]
            if "box" in face
            else []
        )
        probabilities = {name: f"{value:.4f}" for name, value in face["probabilities"].items()}
        row = {**origin, **dict(zip(PLACE, place, strict=False)), "label": face["label"], **probabilities}
        yield {name: spreadsheet_text(value) if isinstance(value, str) else value for name, value in row.items()}


def _line_of(columns: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(map(spreadsheet_text, columns))
    return text.getvalue()
