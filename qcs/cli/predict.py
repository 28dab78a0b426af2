"""The command `qcs predict`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcs.cli.shared import Crop, MinFace, Tta, Weights, notice, option, say
from qcs.errors import InputError
from qcs.imports import MissingExtraError, require

if TYPE_CHECKING:
    from qcs.engine import PicturePrediction
    from qcs.faces import MTCNN


def predict(
    weights: Weights,
    images: Annotated[
        list[str], typer.Argument(help="Photographs, folders, videos, or camera (camera:1 is the second camera).")
    ],
    output: Annotated[str | None, option("File to write: .json or .csv.", "none")] = None,
    annotate: Annotated[str | None, option("Folder for copies of the pictures with faces marked.", "none")] = None,
    detect: Annotated[bool, typer.Option(help="Detect faces, or take each image as one cropped face.")] = True,
    crop: Crop = None,
    min_face: MinFace = None,
    every: Annotated[int, typer.Option(help="Take every n-th frame of a video or camera.")] = 1,
    tta: Tta = False,
) -> None:
    """Predict the expression of each face in photographs, videos or camera frames, with its probability."""
    require("accelerate", "torchmetrics", extra="faces")
    if detect:
        unreadable = predict_pictures(
            weights, images, output, annotate, crop=crop, min_face=min_face, every=every, tta=tta
        )
    elif annotate:
        raise InputError("--no-detect finds no faces to mark; leave out --annotate")
    else:
        unreadable = predict_crops(weights, images, output, tta=tta)
    for error in unreadable:
        notice("red", "error", str(error))
    if unreadable:
        raise typer.Exit(1)


def predict_crops(
    weights: str, images: Sequence[str], output: str | None = None, *, tta: bool = False
) -> list[InputError]:
    """Predict image files and folders, each image one cropped face; print a line per image and write the output.

    Returns:
        An error for each file that could not be read.

    Raises:
        InputError: If weights cannot be read, there is no image, or the output has an unknown suffix.
    """
    from accelerate import Accelerator

    from qcs import engine
    from qcs.engine.prediction_output import check_output, face_files
    from qcs.models import load_model
    from qcs.models.weights import find_weights

    if output is not None:
        check_output(output)
    model = load_model(find_weights(weights))
    unreadable: list[InputError] = []
    records: list[dict[str, Any]] = []
    for found in engine.predict(model, face_files(images), Accelerator().device, unreadable.append, tta=tta):
        records.append(found.to_dict())
        say(f"{found.path}  {found.label}  {found.probabilities[found.label]:.1%}")
    _write(output, records, model.class_names)
    return unreadable


def predict_pictures(
    weights: str,
    sources: Sequence[str],
    output: str | None = None,
    annotated: str | None = None,
    *,
    crop: str | None = None,
    min_face: int | None = None,
    every: int = 1,
    tta: bool = False,
) -> list[InputError]:
    """Detect and predict the faces in photographs, folders, videos and cameras; print a line per picture.

    A camera is read until the user interrupts; the pictures until then are the result.

    Returns:
        An error for each file that could not be read.

    Raises:
        InputError: If weights cannot be read, there is no picture, an option is out of range, or a package is missing.
    """
    from accelerate import Accelerator

    from qcs import engine, faces
    from qcs.engine.face_crop import crop_to_predict
    from qcs.engine.prediction_output import AnnotatedPictures, check_output
    from qcs.faces.alignment import DEFAULT
    from qcs.faces.media import camera_number
    from qcs.models import load_model
    from qcs.models.weights import find_weights

    if output is not None:
        check_output(output)
    faces.template(crop or DEFAULT)  # an unknown crop is an error before anything is loaded
    detector = _detector(min_face)
    unreadable: list[InputError] = []
    stream = faces.pictures(sources, every, unreadable.append)
    live = any(camera_number(source) is not None for source in sources)
    file = find_weights(weights)
    model, crop = load_model(file), crop_to_predict(file, crop)
    records: list[dict[str, Any]] = []
    copies = AnnotatedPictures(annotated, sources) if annotated else None
    try:
        together, device = 1 if live else 8, Accelerator().device
        for found in engine.predict_faces(
            model, stream, device, detector=detector, crop=crop, together=together, tta=tta
        ):
            if copies is not None:
                copies.write(found)
            records.append(found.to_dict())
            say(_line(found))
    except KeyboardInterrupt:
        if not live:
            raise
    _write(output, records, model.class_names)
    if copies is not None and copies.paths:
        say(f"wrote {len(copies.paths):,} pictures to {annotated}")
    return unreadable


def _detector(min_face: int | None) -> MTCNN:
    from qcs import faces

    try:
        return faces.MTCNN(min_face)
    except MissingExtraError as error:
        raise InputError(f"{error}, or give --no-detect if each image is one cropped face") from error


def _line(found: PicturePrediction) -> str:
    frame = "" if found.picture.frame is None else f" frame {found.picture.frame:,}"
    return f"{found.picture.path}{frame}  {', '.join(face.summary for face in found.faces) or 'no face'}"


def _write(output: str | None, records: list[dict[str, Any]], classes: Sequence[str]) -> None:
    from qcs.engine.prediction_output import write_predictions

    if output is not None and records:
        write_predictions(output, records, classes)
        say(f"wrote {output}")
