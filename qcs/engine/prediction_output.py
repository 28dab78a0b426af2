"""Write predictions as JSON or CSV, and copies of pictures with their faces marked."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qcs.engine.prediction import PicturePrediction
from qcs.errors import InputError
from qcs.faces import LANDMARKS, annotate
from qcs.faces.image_file import write_image
from qcs.faces.media import image_files, no_images
from qcs.files import write_text

ORIGIN = ("path", "frame", "seconds")
PLACE = ("left", "top", "right", "bottom", "score", *(f"{name}_{axis}" for name in LANDMARKS for axis in "xy"))
"""Columns of a CSV file that locate a face."""


def check_output(path: str | Path) -> None:
    """Check that predictions can be written under that name.

    Raises:
        InputError: If the suffix is neither .json nor .csv.
    """
    if Path(path).suffix not in (".json", ".csv"):
        raise InputError(f"output must end in .json or .csv, got {path}")


def write_predictions(path: str | Path, records: Sequence[dict[str, Any]], classes: Sequence[str]) -> None:
    """Write predictions: a JSON list with a record per image, or a CSV table with a row per face.

    Args:
        path: File to write, ending in .json or .csv.
        records: Predictions as `Prediction.to_dict` or `PicturePrediction.to_dict` returns them.
        classes: Class names in index order.

    Raises:
        InputError: If the suffix is neither .json nor .csv.
        OSError: If the file cannot be written.
    """
    check_output(path)
    if Path(path).suffix == ".json":
        write_text(Path(path), json.dumps(records, indent=2) + "\n")
        return
    of_pictures = any("faces" in record for record in records)
    columns = [*ORIGIN, *PLACE] if of_pictures else ["path"]
    table = io.StringIO()
    writer = csv.DictWriter(table, [*columns, "label", *classes])
    writer.writeheader()
    writer.writerows(row for record in records for row in _rows(record))
    write_text(Path(path), table.getvalue())


def face_files(sources: Sequence[str | Path]) -> list[Path]:
    """Return the given image files and those below the given folders.

    Raises:
        InputError: If a source does not exist, or if there is no image.
    """
    files: list[Path] = []
    for source in map(Path, sources):
        if not source.exists():
            raise InputError(f"no image or folder at {source}")
        files += image_files(source) if source.is_dir() else [source]
    if not files:
        raise no_images(sources)
    return files


class AnnotatedPictures:
    """Copies of pictures with their faces marked, in one folder, each under a name of its own.

    Args:
        folder: Folder to write to.
        sources: Files and folders that are read; no copy replaces one of their files.
    """

    def __init__(self, folder: str | Path, sources: Sequence[str | Path]) -> None:
        self.folder = Path(folder)
        self.paths: set[Path] = set()
        self._sources = {path.resolve() for path in _files(sources)}

    def write(self, prediction: PicturePrediction) -> Path:
        """Write the copy of one picture and return its path.

        Raises:
            InputError: If it would replace a picture that is read.
            OSError: If it cannot be written.
        """
        place = path = self.folder / prediction.picture.place
        number = 2
        while path in self.paths:
            path, number = place.with_stem(f"{place.stem}-{number}"), number + 1
        if path.resolve() in self._sources:
            raise InputError(f"the annotated picture would replace its original {path}; choose another folder")
        faces = [(found.face, found.summary) for found in prediction.faces if found.face]
        write_image(annotate(prediction.picture.image, faces), path)
        self.paths.add(path)
        return path


def _files(sources: Sequence[str | Path]) -> Iterator[Path]:
    for source in map(Path, sources):
        yield from image_files(source) if source.is_dir() else [source]


def _rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Turn a record into rows of a table, one per face."""
    origin = {name: record[name] for name in ORIGIN if name in record}
    for face in record.get("faces", [record]):
        place = [*face["box"], face["score"], *itertools.chain(*face["landmarks"].values())] if "box" in face else []
        yield {**origin, **dict(zip(PLACE, place, strict=False)), "label": face["label"], **face["probabilities"]}
