"""Detect, follow and classify the faces of a video or camera, frame by frame."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from qcs.errors import InputError
from qcs.faces import FaceDetector, Faces, Picture, align, pictures, template
from qcs.faces.alignment import DEFAULT
from qcs.faces.media import camera_number
from qcs.live.filter import ProbabilityFilter
from qcs.live.motion import Motion
from qcs.live.prefetch import Prefetch
from qcs.live.speed import Speed
from qcs.live.tracker import Tracker, appearance

Classifier = Callable[[Sequence[Image.Image]], Faces]
"""Classifies aligned faces: returns `Faces` with probabilities and classes, in order."""

DETECT_EVERY = 5
DELAY = 0.3
SHARE = 12  # the smallest face is 1/12 of the shorter side of a frame, at least 20 pixels


def watch(
    sources: str | Path | Sequence[str | Path],
    *,
    weights: str | Path = "qcs_small",
    classify: Classifier | None = None,
    detector: FaceDetector | None = None,
    crop: str | None = None,
    side: int | None = None,
    every: int = 1,
    detect_every: int = DETECT_EVERY,
    delay: float = DELAY,
    tracker: Callable[[], Tracker] = Tracker,
) -> Watch:
    """Follow and classify the faces of videos and cameras.

    Args:
        sources: Videos, or "camera" for the first camera; see `qcs.faces.pictures`.
        weights: Weights to classify with, see `qcs.load_model`; not used with `classify`.
        classify: Classifier of aligned faces; None loads the weights (needs PyTorch).
        detector: Face detector; None is MTCNN for faces of at least 1/12 of the shorter side.
        crop: Crop template, see `qcs.faces.template`; None is that of the weights.
        side: Side of the aligned faces in pixels; None is that of the weights, 48 with `classify`.
        every: Take every n-th frame.
        detect_every: Detect in every n-th frame of the source and follow the faces between.
        delay: Half-life of the filter of the probabilities in seconds, see `ProbabilityFilter`; 0 filters nothing.
        tracker: Makes the tracker, one per video.

    Returns:
        An iterator over `Faces` with tracks, one per frame, in order.

    Raises:
        InputError: If a source is missing, an argument is out of range, or a package is missing.
    """
    model_crop, model_side = crop or DEFAULT, side or 48
    if classify is None:
        from qcs.engine.prediction import crop_classifier

        classify, model_crop, model_side = crop_classifier(weights, crop)
    names = [sources] if isinstance(sources, (str, Path)) else sources
    live = any(camera_number(str(name)) is not None for name in names)
    return Watch(
        pictures(sources, every),
        classify,
        detector,
        crop=model_crop,
        side=side or model_side,
        detect_every=detect_every,
        delay=delay,
        newest=live,
        tracker=tracker,
    )


class Watch(Iterator[Faces]):
    """Iterate over the faces of frames; made by `watch`.

    Args:
        frames: Pictures with `frame` and `path`, as `qcs.faces.pictures` reads them.
        classify: Classifier of aligned faces.
        detector: Face detector; None is MTCNN.
        crop: Crop template.
        side: Side of the aligned faces in pixels.
        detect_every: Detect in every n-th frame of the source.
        delay: Half-life of the filter in seconds.
        newest: Whether frames that wait are dropped for newer ones, as for a camera.
        tracker: Makes the tracker, one per video.
        recorded: Maps a picture to its faces if an earlier run recorded them, see `qcs.faces.Recorded`; such faces
            are yielded as they are, and their tracks go on.

    Attributes:
        speed: Rate and time of each stage.
        delay: Half-life of the filter in seconds.
        was_recorded: Whether the last faces were recorded by an earlier run.
    """

    def __init__(
        self,
        frames: Iterator[Picture],
        classify: Classifier,
        detector: FaceDetector | None = None,
        *,
        crop: str = DEFAULT,
        side: int = 48,
        detect_every: int = DETECT_EVERY,
        delay: float = DELAY,
        newest: bool = False,
        tracker: Callable[[], Tracker] = Tracker,
        recorded: Callable[[Picture], Faces | None] | None = None,
    ) -> None:
        if detect_every < 1:
            raise InputError(f"detect_every is {detect_every}; expected at least 1, which detects in each frame")
        template(crop, side)
        ProbabilityFilter(delay)
        self.speed, self.delay, self.was_recorded = Speed(), delay, False
        self._classify, self._detector = classify, detector or RelativeMTCNN()
        self._crop, self._side, self._every, self._new_tracker = crop, side, detect_every, tracker
        self._recorded = recorded
        self._source = ""
        self._frames = Prefetch(frames, newest=newest)

    def __next__(self) -> Faces:
        with self.speed.stage("waiting"):
            picture, read_at = next(self._frames)
        if picture.path != self._source:
            self._begin(picture.path)
        known = None if self._recorded is None else self._recorded(picture)
        self.was_recorded = known is not None
        if known is not None:
            self._note(known)
            return known
        faces = self._computed(picture)
        self._last = picture.frame
        self.speed.frame(read_at)
        return faces

    def close(self) -> None:
        """Stop reading."""
        self._frames.close()

    def _begin(self, path: str) -> None:
        self._source, self._last = path, None
        self._tracker, self._filter, self._motion = self._new_tracker(), ProbabilityFilter(self.delay), Motion()
        self._noted: dict[int, Faces] = {}

    def _computed(self, picture: Picture) -> Faces:
        image, seconds = picture.image, picture.seconds or 0.0
        self._resume(seconds)
        with self.speed.stage("tracking"):
            self._motion.see(image)
            followed = self._tracker.move(self._motion, seconds)
        if self._is_due(picture.frame) or not followed:
            faces, crops = self._detected(image, seconds)
        else:
            faces, crops = self._followed(image)
        if len(faces):
            with self.speed.stage("classification"):
                faces = self._classified(faces, self._classify(crops), seconds)
        self._filter.forget({track.number for track in self._tracker.tracks})
        return replace(faces, picture=picture)

    def _is_due(self, frame: int | None) -> bool:
        """Return whether a frame is the first one, or at or after the next multiple of `detect_every`."""
        if frame is None or self._last is None:
            return True
        return frame // self._every != self._last // self._every

    def _detected(self, image: Image.Image, seconds: float) -> tuple[Faces, list[Image.Image]]:
        with self.speed.stage("detection"):
            found, crops = self._cut(image, self._detector(image))
        with self.speed.stage("tracking"):
            self._tracker.update(found, [appearance(crop) for crop in crops], seconds)
        return self._cut(image, self._tracker.seen)

    def _followed(self, image: Image.Image) -> tuple[Faces, list[Image.Image]]:
        with self.speed.stage("tracking"):
            faces, crops = self._cut(image, self._tracker.seen)
            kept = [
                at
                for at, (face, crop) in enumerate(zip(faces, crops, strict=True))
                if self._tracker.confirm(face.track or 0, appearance(crop))
            ]
        return faces[kept], [crops[at] for at in kept]

    def _cut(self, image: Image.Image, faces: Faces) -> tuple[Faces, list[Image.Image]]:
        """Return the faces that can be aligned, and their crops."""
        kept, crops = [], []
        for at, face in enumerate(faces):
            with contextlib.suppress(InputError, OverflowError):
                if face.box is not None and np.isfinite(face.box).all():
                    crops.append(align(image, face, self._side, self._crop))
                    kept.append(at)
        return faces[kept], crops

    def _classified(self, faces: Faces, each: Faces, seconds: float) -> Faces:
        if each.probabilities is None or faces.tracks is None or len(each) != len(faces):
            raise InputError("the classifier gave no probabilities for each face; expected Faces with one row per crop")
        rows = zip(faces.tracks.tolist(), each.probabilities, strict=True)
        filtered = np.stack([self._filter(track, row, seconds) for track, row in rows])
        columns: dict[str, Any] = {"quality": each.quality, "data": each.data}
        return replace(faces, probabilities=filtered, classes=each.classes, **columns)

    def _note(self, known: Faces) -> None:
        """Keep the last recorded faces of each track that may go on."""
        self._last = known.frame
        seconds = known.seconds or 0.0
        for row, face in enumerate(known):
            if face.track is not None:
                self._tracker.skip(face.track)
                self._noted[face.track] = known[[row]]
        self._noted = {
            track: faces
            for track, faces in self._noted.items()
            if seconds - (faces.seconds or 0.0) <= self._tracker.keep
        }

    def _resume(self, seconds: float) -> None:
        """Take the tracks of recorded faces, those of the last frame as faces that are seen."""
        newest = max((faces.seconds or 0.0 for faces in self._noted.values()), default=0.0)
        for number, faces in self._noted.items():
            picture, when = faces.picture, faces.seconds or 0.0
            if picture is None or picture.loaded is None:
                continue
            if when == newest:
                self._motion.see(picture.image)
            cut, crops = self._cut(picture.image, faces)
            self._tracker.start(cut, [appearance(crop) for crop in crops], when, hidden=when < newest)
            if faces.probabilities is not None and len(cut):
                self._filter.start(number, faces.probabilities[0], when)
        self._noted = {}


class RelativeMTCNN:
    """MTCNN for faces of at least a share of the frame."""

    def __init__(self) -> None:
        from qcs.faces import MTCNN

        self._make: Callable[[int], FaceDetector] = MTCNN
        self._detectors: dict[int, FaceDetector] = {}
        self(Image.new("RGB", (SHARE * 20,) * 2))  # a package that is missing is said at once

    def __call__(self, image: Image.Image) -> Faces:
        """Return the faces, largest first."""
        side = max(20, min(image.size) // SHARE)
        if side not in self._detectors:
            self._detectors[side] = self._make(side)
        return self._detectors[side](image)
