"""The command `qcs predict`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcs.cli.shared import Crop, MinFace, Tta, console, fail, notice, option, say
from qcs.errors import InputError
from qcs.imports import MissingExtraError

if TYPE_CHECKING:
    from qcs.faces import MTCNN, Faces
    from qcs.faces.annotated import AnnotatedPictures
    from qcs.faces.picture import Picture
    from qcs.faces.recorded import Recorded
    from qcs.faces.result_file import ResultFile
    from qcs.live import Watch

WEIGHTS = "qcs_small"  # in the package


def predict(
    images: Annotated[
        list[str],
        typer.Argument(help="Photographs, folders, videos, camera (camera:1 is the second), or - (standard input)."),
    ],
    weights: Annotated[
        str | None,
        option(
            "Trained weights: run folder, .safetensors file, hf-hub:ORG/NAME, or a name.", f"{WEIGHTS}, in the package"
        ),
    ] = None,
    output: Annotated[str | None, option("File to write: .json, .jsonl (JSON Lines) or .csv.", "none")] = None,
    annotate: Annotated[str | None, option("Folder for copies of the pictures with faces marked.", "none")] = None,
    detect: Annotated[bool, typer.Option(help="Detect faces, or take each image as one cropped face.")] = True,
    crop: Crop = None,
    min_face: MinFace = None,
    every: Annotated[int, typer.Option(help="Take every n-th frame of a video or camera.")] = 1,
    tta: Tta = False,
    track: Annotated[bool, typer.Option(help="Follow the faces of a video or camera from frame to frame.")] = True,
    detect_every: Annotated[
        int, typer.Option(help="With --track, detect faces in every n-th frame of the video, and follow them between.")
    ] = 5,
    delay: Annotated[
        float,
        typer.Option(help="With --track, half-life in seconds of the filter of each person's probabilities; 0: none."),
    ] = 0.3,
    window: Annotated[
        bool, typer.Option("--window", help="Show the frames of a video or camera in a window.", show_default="off")
    ] = False,
    coverage: Annotated[
        float | None,
        option("Answer with the labels of which one is right with this probability, 0.5 to 0.99.", "the likeliest"),
    ] = None,
    min_confidence: Annotated[
        float | None, option('Answer "cannot tell" below this probability of the label, 0 to 1.', "none")
    ] = None,
    max_risk: Annotated[
        float | None,
        option('Answer "cannot tell" so often that at most this share of answers is wrong, 0.01 to 0.2.', "none"),
    ] = None,
    quality: Annotated[
        bool,
        typer.Option(
            "--quality",
            help='Answer "cannot tell" and why: too small, blurred, turned away, cut off.',
            show_default="off",
        ),
    ] = False,
    distribution: Annotated[
        bool,
        typer.Option(
            "--distribution",
            help="Also give the distribution of the votes of several annotators, in JSON.",
            show_default="off",
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on after the results in the output of an interrupted run.", show_default="off"
        ),
    ] = False,
) -> None:
    """Predict the expression of each face in photographs, videos or camera frames, with its probability."""
    weights, images = _split(weights, images)
    if resume and output is None:
        raise InputError("--resume goes on after the results in a file; name it with --output")
    if (annotate or window) and not detect:
        raise InputError("--no-detect finds no faces to mark; leave out --annotate and --window")
    asked = {
        "coverage": coverage,
        "min_confidence": min_confidence,
        "max_risk": max_risk,
        "distribution": distribution,
        "quality": quality,
    }
    try:
        if detect:
            errors = predict_pictures(
                images,
                output,
                annotate,
                weights=weights,
                crop=crop,
                min_face=min_face,
                every=every,
                tta=tta,
                track=track,
                detect_every=detect_every,
                delay=delay,
                window=window,
                resume=resume,
                asked=asked,
            )
        else:
            errors = predict_crops(images, output, weights=weights, tta=tta, resume=resume, asked=asked)
    except Interrupted as error:
        fail(str(error), 130)
    if errors:
        raise typer.Exit(1)


def predict_crops(
    images: Sequence[str],
    output: str | None = None,
    *,
    weights: str = WEIGHTS,
    tta: bool = False,
    resume: bool = False,
    asked: Mapping[str, Any] | None = None,
) -> list[Exception]:
    """Predict image files and folders, each image one cropped face; print and write each result as it comes.

    `asked` holds the arguments of `qcs.engine.answers.answer_rules`.

    Returns:
        The errors of files that could not be read, each already printed.

    Raises:
        InputError: If weights cannot be read, there is no image, or the output has an unknown suffix or cannot be
            continued.
        Interrupted: If the user interrupts; the output holds the results until then.
        OSError: If the output cannot be written.
    """
    from pathlib import Path

    from qcs import engine, faces
    from qcs.engine.answers import answer_rules
    from qcs.engine.prediction import default_device
    from qcs.faces.media import face_files
    from qcs.faces.result_file import check_output
    from qcs.models import load_model
    from qcs.models.weights import find_weights

    if output is not None:
        check_output(output, resume=resume)
    model = load_model(find_weights(weights))
    rules = answer_rules(model.calibration, **(asked or {}))
    errors = _Errors()
    files = face_files(images)
    before = _recorded(output, model.class_names) if resume else None
    if before is not None:
        files = [file for file in files if before.of(faces.Picture(str(file), None, Path(file.name))) is None]
    with _results(output, model.class_names, before) as results, _Bar(len(files)) as bar:
        for number, plain in enumerate(engine.predict(model, files, default_device(), errors.add, tta=tta), 1):
            found = rules(plain)
            results.add(found)
            face = found[0]
            shown = face.summary if rules.any else f"{face.label}  {(face.probabilities or {})[face.label]:.1%}"
            say(f"{found.path}  {shown}")
            bar.show(number, number + len(errors))
    return errors


def predict_pictures(
    sources: Sequence[str],
    output: str | None = None,
    annotated: str | None = None,
    *,
    weights: str = WEIGHTS,
    crop: str | None = None,
    min_face: int | None = None,
    every: int = 1,
    tta: bool = False,
    track: bool = True,
    detect_every: int = 5,
    delay: float = 0.3,
    window: bool = False,
    resume: bool = False,
    asked: Mapping[str, Any] | None = None,
) -> list[Exception]:
    """Detect and predict the faces in photographs, folders, videos and cameras; print and write each result at once.

    A camera is read until the user interrupts; the pictures until then are the result. `asked` holds the arguments of
    `qcs.engine.answers.answer_rules`.

    Returns:
        The errors of files that could not be read and copies that could not be written, each already printed.

    Raises:
        InputError: If weights cannot be read, there is no picture, an option is out of range, a package is missing, or
            the output cannot be continued.
        Interrupted: If the user interrupts; the output holds the results until then.
        OSError: If the output cannot be written.
    """
    from qcs import engine, faces
    from qcs.engine.answers import answer_rules
    from qcs.engine.face_crop import crop_to_predict
    from qcs.engine.prediction import crop_classifier, default_device, face_side
    from qcs.faces.alignment import DEFAULT
    from qcs.faces.annotated import AnnotatedPictures
    from qcs.faces.media import camera_number, is_video
    from qcs.faces.result_file import check_output
    from qcs.live import Watch, Window
    from qcs.models import load_model
    from qcs.models.weights import find_weights

    if output is not None:
        check_output(output, resume=resume)
    faces.template(crop or DEFAULT)  # an unknown crop is an error before anything is loaded
    detector = _detector(min_face)
    errors = _Errors()
    live = any(camera_number(source) is not None for source in sources)
    if resume and (live or "-" in sources):
        raise InputError("a camera or the standard input has no earlier frames to go on after; leave out --resume")
    kinds = [(kind, list(group)) for kind, group in groupby(sources, lambda each: track and is_video(each))]
    streams = [(kind, faces.pictures(group, every, errors.add)) for kind, group in kinds]
    file = find_weights(weights)
    model, crop = load_model(file), crop_to_predict(file, crop)
    rules = answer_rules(model.calibration, crop=crop, **(asked or {}))
    copies = AnnotatedPictures(annotated, sources) if annotated else None
    together, device = 1 if live else 8, default_device()
    before = _recorded(output, model.class_names) if resume else None
    screen = Window() if window else None

    def predicted(pictures: Iterator[Picture]) -> Iterator[Faces]:
        return engine.predict_faces(model, pictures, device, detector=detector, crop=crop, together=together, tta=tta)

    def followed(frames: Iterator[Picture]) -> Watch:
        classify, *_ = crop_classifier(model, crop, tta=tta)
        return Watch(
            frames,
            classify,
            None if min_face is None else detector,
            crop=crop,
            side=face_side(model),
            detect_every=detect_every,
            delay=delay,
            newest=live,
            recorded=None if before is None else before.of,
        )

    with ExitStack() as stack:
        results = stack.enter_context(_results(output, model.class_names, before, live=live))
        counts = [getattr(stream, "files", None) for _, stream in streams]
        bar = stack.enter_context(_Bar(None if None in counts else sum(count or 0 for count in counts)))
        if copies is not None:
            stack.callback(_finish, copies, errors.add)
        number = 0
        for kind, stream in streams:
            watch = followed(stream) if kind else None
            known_or_new = _known_or_new(stream, before, predicted) if watch is None else _watched(watch)
            try:
                for found, known in known_or_new:
                    number += 1
                    answered = rules(found)
                    if not known:
                        results.add(answered)
                        for line in _lines(answered, one_per_face=rules.any):
                            say(line)
                    if copies is not None:
                        _mark(copies, answered, known, errors.add)
                    if screen is not None:
                        screen.show(answered)
                    bar.show(number, sum(getattr(each, "done", 0) for _, each in streams), watch)
                    del found, answered  # or its pixels stay while the next picture is read
                    if screen is not None and screen.closed:
                        break
            finally:
                if watch is not None:
                    watch.close()
                    say(_speed(watch))
            if screen is not None and screen.closed:
                break
    if copies is not None and copies.paths:
        say(f"wrote {_counted(len(copies.paths), 'picture')} to {annotated}")
    return errors


def _watched(watch: Watch) -> Iterator[tuple[Faces, bool]]:
    """Yield the faces of each frame, and whether an earlier run has found them."""
    for found in watch:
        yield found, watch.was_recorded
        del found


def _speed(watch: Watch) -> str:
    """Describe rate and delays of a video or camera."""
    filtered = f"probabilities filtered with a half-life of {watch.delay:g} s" if watch.delay else "no filter"
    return f"{_counted(watch.speed.frames, 'frame')} at {watch.speed}; {filtered}"


def _known_or_new(
    stream: Iterator[Picture], before: Recorded | None, predicted: Callable[[Iterator[Picture]], Iterator[Faces]]
) -> Iterator[tuple[Faces, bool]]:
    """Yield the faces of each picture in order, and whether an earlier run has found them."""
    if before is None:
        yield from ((found, False) for found in predicted(stream))
        return
    pairs = ((picture, before.of(picture)) for picture in stream)
    for known, group in groupby(pairs, lambda pair: pair[1] is not None):
        if known:
            yield from ((found, True) for _, found in group if found is not None)
        else:
            yield from ((found, False) for found in predicted(picture for picture, _ in group))


def _recorded(output: str | None, classes: Sequence[str]) -> Recorded | None:
    """Return the results of an earlier run, and say how many there are."""
    from qcs.faces.recorded import Recorded

    if output is None:
        return None
    before = Recorded(output, classes)
    say(f"{output} holds {_counted(before.records, 'picture')}; going on after them")
    return before


class Interrupted(KeyboardInterrupt):
    """The user stopped the command; the message says after how many pictures, and what was written."""


class _Errors(list[Exception]):
    """Errors that do not end the command; each is printed when it is added."""

    def add(self, error: Exception) -> None:
        self.append(error)
        notice("red", "error", str(error))


class _Results:
    """Count the results and write them to the output, if there is one."""

    def __init__(self, file: ResultFile | None) -> None:
        self.file, self.count = file, 0

    def add(self, faces: Faces) -> None:
        if self.file is not None:
            self.file.write(faces)
        self.count += 1


@contextmanager
def _results(
    output: str | None, classes: Sequence[str], before: Recorded | None, *, live: bool = False
) -> Iterator[_Results]:
    """Complete the output at the end and say so; an interrupt ends the command unless the source is a camera."""
    from qcs.faces.result_file import ResultFile

    file = ResultFile(output, classes, after=None if before is None else before.end) if output is not None else None
    results, interrupted = _Results(file), False
    try:
        with file or ExitStack():
            yield results
    except KeyboardInterrupt:
        interrupted = not live
    written = f"wrote {output}" if file is not None and file.records else ""
    if interrupted:
        raise Interrupted(f"interrupted after {_counted(results.count, 'picture')}{f'; {written}' if written else ''}")
    if written:
        say(written)


class _Bar:
    """Show the number of pictures, their rate and the time left on a terminal; nothing elsewhere.

    Args:
        files: Number of files; None for a camera.
    """

    def __init__(self, files: int | None) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.fields[count]}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=files, count="")

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, pictures: int, files: float, watch: Watch | None = None) -> None:
        """Show the pictures that have an answer and the files that are read, fractions for a video."""
        elapsed = self._bar.tasks[0].elapsed
        rate = f", {pictures / elapsed:.1f}/s" if elapsed else ""
        rate += f", {1000 * watch.speed.latency:.0f} ms late" if watch is not None else ""
        self._bar.update(self._task, completed=files, count=f"{_counted(pictures, 'picture')}{rate}")


def _split(weights: str | None, images: list[str]) -> tuple[str, list[str]]:
    """Return the weights and the images; a first argument that names weights is taken as `--weights`."""
    from pathlib import Path

    from qcs.models.weights import BEST, FOLDER_PREFIX, HUB_PREFIX, embedded_weights

    if weights is not None:
        return weights, images
    first = Path(images[0])
    named = images[0].startswith((HUB_PREFIX, FOLDER_PREFIX)) or first.suffix == ".safetensors"
    named = named or (first / BEST).is_file() or (not first.exists() and embedded_weights(images[0]) is not None)
    if not named:
        return WEIGHTS, images
    if len(images) == 1:
        raise InputError(f"{images[0]} names weights; expected images after it")
    return images[0], images[1:]


def _detector(min_face: int | None) -> MTCNN:
    from qcs import faces

    try:
        return faces.MTCNN(min_face)
    except MissingExtraError as error:
        raise InputError(f"{error}, or give --no-detect if each image is one cropped face") from error


def _mark(copies: AnnotatedPictures, found: Faces, again: bool, failed: Callable[[Exception], None]) -> None:
    """Write the annotated copy of a picture; one that cannot be written costs nothing else."""
    try:
        copies.write(found, again=again)
    except (InputError, OSError) as error:
        failed(error)


def _finish(copies: AnnotatedPictures, failed: Callable[[Exception], None]) -> None:
    try:
        copies.finish()
    except OSError as error:
        failed(error)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _lines(found: Faces, *, one_per_face: bool) -> list[str]:
    """Return a line for the picture, or one for each of its faces where answers are long."""
    name = found.path if found.frame is None else f"{found.path} frame {found.frame:,}"
    faces = [f"{face.name} {face.summary}" for face in found] or ["no face"]
    return [f"{name}  {each}" for each in (faces if one_per_face else [", ".join(faces)])]
