"""Align all faces of a folder of pictures into another folder, in parallel and resumable."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from PIL import Image

from qcs.data.images import open_image
from qcs.errors import InputError, check_choice
from qcs.faces.align_log import NAME, AlignLog
from qcs.faces.alignment import DEFAULT, SIDE, align, template
from qcs.faces.face import Face
from qcs.faces.faces import FaceDetector, Faces
from qcs.faces.image_file import write_image
from qcs.faces.media import image_files, no_images
from qcs.faces.mtcnn import MTCNN

WHICH = ("best", "all")

CHUNK = 8  # pictures sent to a process at a time

MAIN_GUARD = (
    'worker processes import the script that starts them: write `if __name__ == "__main__":` before the call of '
    "align_folder, in a script that is a file, or give workers=1"
)


@dataclass(frozen=True)
class Aligned:
    """Counts of an alignment.

    Attributes:
        pictures: Pictures in the folder.
        before: Pictures that an earlier run finished.
        aligned: Pictures with at least one face.
        faces: Faces cropped from them.
        without: Pictures without a face.
        unreadable: Unreadable pictures.
    """

    pictures: int
    before: int
    aligned: int
    faces: int
    without: int
    unreadable: int

    def __str__(self) -> str:
        return (
            f"{self.faces:,} faces from {self.aligned:,} of {self.pictures:,} pictures; "
            f"{self.without:,} without a face, {self.unreadable:,} unreadable, {self.before:,} done before"
        )


def align_folder(
    source: str | Path,
    target: str | Path,
    *,
    size: int = SIDE,
    crop: str = DEFAULT,
    faces: str = "best",
    workers: int = 1,
    detector: Callable[[], FaceDetector] = MTCNN,
    on_progress: Callable[[int, int], None] | None = None,
) -> Aligned:
    """Align the faces of every picture below a folder into another folder with the same tree.

    A face has the name of its picture; with `faces="all"` the largest face of `a.jpg` is `a_1.jpg`, the next `a_2.jpg`.
    `align.jsonl` in the target records the faces of each picture or why it was skipped. An interrupted run resumes
    when it is started again.

    Args:
        source: Folder of pictures.
        target: Folder of faces; created if missing.
        size: Side of the faces in pixels.
        crop: Crop template, see `qcs.faces.template`.
        faces: `"best"`, the largest face of a picture, or `"all"`.
        workers: Processes that work at the same time; 1 works in this one.
        detector: Makes the detector, in each process one.
        on_progress: Called with the number of pictures that are done and the number of all pictures, at the start and
            after each picture.

    Returns:
        Counts.

    Raises:
        InputError: If there are no pictures, the target is or lies in the source or holds faces of other settings, an
            argument is out of range, a package is missing, another run fills the target, a process was killed, or a
            script calls it with several workers outside of `if __name__ == "__main__":`.
        OSError: If a face or the log cannot be written.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # a worker imports the script that called this
        raise InputError(MAIN_GUARD)
    template(crop, size)
    check_choice("faces", faces, WHICH)
    if workers < 1:
        raise InputError(f"workers is {workers}; expected at least 1")
    source, target = Path(source), Path(target)
    paths = _paths(source, target)
    aligner = _Aligner(source, target, size, crop, faces, detector)
    detector()  # a package that is missing is said before anything is written
    counts: Counter[str] = Counter()
    if target.is_dir() and any(target.iterdir()) and not (target / NAME).is_file():
        raise InputError(f"{target} holds other files; choose an empty folder, or one that an earlier run began")
    with AlignLog(target, {"size": size, "crop": crop, "faces": faces}) as log:
        for unfinished in target.rglob(".*.tmp"):
            if re.fullmatch(r"\..+\.\d+\.tmp", unfinished.name):
                unfinished.unlink()
        left = [path for path in paths if path not in log.done]
        finished = len(paths) - len(left)
        report = on_progress or (lambda finished, pictures: None)
        report(finished, len(paths))
        for number, record in enumerate(_outcomes(aligner, left, workers), finished + 1):
            log.add(record)
            counts.update(_outcome(record))
            report(number, len(paths))
    return Aligned(
        len(paths),
        len(paths) - len(left),
        counts["aligned"],
        counts["faces"],
        counts["without"],
        counts["unreadable"],
    )


class _Aligner:
    """Align the faces of a picture, write them and return its record."""

    def __init__(
        self, source: Path, target: Path, size: int, crop: str, faces: str, detector: Callable[[], FaceDetector]
    ) -> None:
        self.source, self.target, self.size, self.crop, self.faces = source, target, size, crop, faces
        self.make_detector = detector

    @cached_property
    def detector(self) -> FaceDetector:
        """Detector of this process."""
        return self.make_detector()

    def __call__(self, path: str) -> dict[str, Any]:
        try:
            image = open_image(self.source / path)
        except InputError as error:
            return {"path": path, "skipped": str(error), "unreadable": True}
        found = self.detector(image)
        if not len(found):
            return {"path": path, "skipped": "no face"}
        try:
            return self._cut_out(image, found, path)
        except InputError as error:  # the landmarks are not those of a face
            return {"path": path, "skipped": str(error)}

    def _cut_out(self, image: Image.Image, found: Faces, path: str) -> dict[str, Any]:
        if self.faces == "best":
            return {"path": path, "crops": [self._cut(image, found[0], Path(path))]}
        numbered = [Path(path).with_stem(f"{Path(path).stem}_{number}") for number in range(1, len(found) + 1)]
        return {
            "path": path,
            "crops": [self._cut(image, face, name) for face, name in zip(found, numbered, strict=True)],
        }

    def _cut(self, image: Image.Image, face: Face, name: Path) -> dict[str, Any]:
        write_image(align(image, face, self.size, self.crop), self.target / name)
        return {"file": name.as_posix(), **face.to_dict()}


def _paths(source: Path, target: Path) -> list[str]:
    if not source.is_dir():
        raise InputError(f"no folder of pictures at {source}")
    if target.resolve().is_relative_to(source.resolve()):
        raise InputError(f"{target} lies in {source}, whose pictures are to be aligned; choose a folder outside of it")
    paths = [path.relative_to(source).as_posix() for path in image_files(source)]
    if not paths:
        raise no_images([source])
    return paths


def _outcome(record: dict[str, Any]) -> dict[str, int]:
    if "crops" in record:
        return {"aligned": 1, "faces": len(record["crops"])}
    return {"unreadable" if "unreadable" in record else "without": 1}


def _outcomes(aligner: _Aligner, paths: list[str], workers: int) -> Iterator[dict[str, Any]]:
    if workers == 1 or not paths:
        yield from map(aligner, paths)
        return
    # A forked process would inherit the locks held by threads, but not the threads.
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    pool = ProcessPoolExecutor(min(workers, len(paths)), context, _start, (aligner, started))
    try:
        yield from pool.map(_align, paths, chunksize=CHUNK)
    except BrokenProcessPool as error:
        if not started.is_set():
            raise InputError(f"no worker process could start; {MAIN_GUARD}") from error
        raise InputError(
            "a worker process was killed, perhaps by a lack of memory; run the command again with fewer workers to "
            "continue"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_mine: _Aligner


def _start(aligner: _Aligner, started: Event) -> None:
    """Initialize a worker: ignore Ctrl-C, which the main process handles, and end with the main process."""
    global _mine
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _mine = aligner
    started.set()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _align(path: str) -> dict[str, Any]:
    return _mine(path)
