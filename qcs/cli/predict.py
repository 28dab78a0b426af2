"""Predicting from a weights file, with the results printed, written as JSON or CSV and drawn into the pictures."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from rich.console import Console

from qcs.engine.face_crop import crop_to_predict
from qcs.engine.prediction import PicturePrediction, Prediction, predict, predict_faces
from qcs.errors import InputError
from qcs.faces import LANDMARKS, MTCNN, annotate, pictures, template
from qcs.faces.alignment import DEFAULT
from qcs.faces.image_file import write_image
from qcs.faces.media import camera_number, image_files, no_images
from qcs.files import write_text
from qcs.imports import MissingExtraError
from qcs.models import load_model
from qcs.models.weights import find_weights

# Columns of a table that say where a face is.
PLACE = ["left", "top", "right", "bottom", "score", *(f"{name}_{axis}" for name in LANDMARKS for axis in "xy")]


def predict_crops(
    weights: str, images: Sequence[str], output: str | None, console: Console, *, tta: bool = False
) -> list[InputError]:
    """Predict image files and folders, each image one face, passing over files that cannot be read.

    Returns:
        An error for each file that could not be read.

    Raises:
        InputError: If weights cannot be read, there is nothing to predict, or the output is of no known kind.
    """
    _check_output(output)
    model = load_model(weights)
    unreadable: list[InputError] = []
    predictions: list[Prediction] = []
    for shown in predict(model, _files(images), Accelerator().device, unreadable.append, tta=tta):
        predictions.append(shown)
        _say(console, f"{shown.path}  {shown.label}  {shown.probabilities[shown.label]:.1%}")
    if predictions:
        _write(output, [shown.to_dict() for shown in predictions], ["path", "label", *model.class_names], console)
    return unreadable


def predict_pictures(
    weights: str,
    sources: Sequence[str],
    output: str | None,
    annotated: str | None,
    console: Console,
    *,
    crop: str | None = None,
    min_face: int | None = None,
    every: int = 1,
    tta: bool = False,
) -> list[InputError]:
    """Find and predict the faces in photographs, folders of them, videos and cameras.

    Faces are cut out as those that the network was trained on, where the weights say and no other crop is chosen.

    A camera is read until the user interrupts; what it has shown until then is the result.

    Returns:
        An error for each file that could not be read.

    Raises:
        InputError: If weights cannot be read, there is nothing to predict, an option is out of range, or a package is
            missing.
    """
    _check_output(output)
    template(crop or DEFAULT)  # an unknown one is an error before anything is loaded
    detector = _detector(min_face)
    unreadable: list[InputError] = []
    stream = pictures(sources, every, unreadable.append)
    live = any(camera_number(source) is not None for source in sources)
    file = find_weights(weights)
    model, crop = load_model(file), crop_to_predict(file, crop)
    records: list[dict[str, Any]] = []
    drawn: set[Path] = set()
    given = {path.resolve() for path in _given(sources)} if annotated else set()
    try:
        together, device = 1 if live else 8, Accelerator().device
        for found in predict_faces(model, stream, device, detector=detector, crop=crop, together=together, tta=tta):
            if annotated:
                _draw(found, Path(annotated), drawn, given)
            records.append(found.to_dict())
            _say(console, _line(found))
    except KeyboardInterrupt:
        if not live:
            raise
    if records:
        _write(output, records, ["path", "frame", "seconds", *PLACE, "label", *model.class_names], console)
    if drawn:
        _say(console, f"wrote {len(drawn):,} pictures to {annotated}")
    return unreadable


def _detector(min_face: int | None) -> MTCNN:
    try:
        return MTCNN(min_face)
    except MissingExtraError as error:
        raise InputError(f"{error}, or give --no-detect if each image is one face already") from error


def _check_output(output: str | None) -> None:
    if output is not None and Path(output).suffix not in (".json", ".csv"):
        raise InputError(f"output must end in .json or .csv, got {output}")


def _files(images: Sequence[str]) -> list[Path]:
    files: list[Path] = []
    for name in images:
        path = Path(name)
        if not path.exists():
            raise InputError(f"no image or folder at {path}")
        files += image_files(path) if path.is_dir() else [path]
    if not files:
        raise no_images(images)
    return files


def _line(found: PicturePrediction) -> str:
    """What a picture shows."""
    picture = found.picture
    frame = "" if picture.frame is None else f" frame {picture.frame:,}"
    return f"{picture.path}{frame}  {', '.join(map(_told, found.faces)) or 'no face'}"


def _told(shown: Prediction) -> str:
    return f"{shown.label} {shown.probabilities[shown.label]:.1%}"


def _given(sources: Sequence[str]) -> Iterator[Path]:
    """Files that are to be read, which nothing may be written over."""
    for source in map(Path, sources):
        yield from image_files(source) if source.is_dir() else [source]


def _draw(found: PicturePrediction, folder: Path, drawn: set[Path], given: set[Path]) -> None:
    """Write the picture with its faces marked, under a name that no other picture of this run has."""
    place = path = folder / found.picture.place
    number = 2
    while path in drawn:
        path, number = place.with_stem(f"{place.stem}-{number}"), number + 1
    if path.resolve() in given:
        raise InputError(f"the annotated picture would replace {path}, which is to be read; choose another folder")
    faces = [(shown.face, _told(shown)) for shown in found.faces if shown.face]
    write_image(annotate(found.picture.image, faces), path)
    drawn.add(path)


def _write(output: str | None, records: list[dict[str, Any]], columns: Sequence[str], console: Console) -> None:
    if output is None:
        return
    if output.endswith(".json"):
        text = json.dumps(records, indent=2) + "\n"
    else:
        table = io.StringIO()
        writer = csv.DictWriter(table, columns)
        writer.writeheader()
        writer.writerows(row for record in records for row in _rows(record))
        text = table.getvalue()
    write_text(Path(output), text)
    _say(console, f"wrote {output}")


def _rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A record as rows of a table, one per face."""
    for face in record.get("faces", [record]):
        origin: dict[str, Any] = {name: record[name] for name in ("path", "frame", "seconds") if name in record}
        place = [*face["box"], face["score"], *itertools.chain(*face["landmarks"].values())] if "box" in face else []
        yield {**origin, **dict(zip(PLACE, place, strict=False)), "label": face["label"], **face["probabilities"]}


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
