"""Read images, folders, videos and cameras through one iterator of pictures."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from qcs.data.images import count_suffixes, image_suffixes, is_image, is_url, open_image, url_refused
from qcs.errors import InputError
from qcs.faces.picture import Picture
from qcs.imports import require

_COMMON = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})

COUNTED = frozenset({".avi", ".m4v", ".mov", ".mp4"})  # store the number of their frames
STDIN = "stdin"
"""Path of pictures from the standard input."""

MOST_CORRUPT = 1000  # frames in a row that cannot be decoded, after which a video is not read on

Unreadable = Callable[[InputError], None]


def pictures(
    sources: str | Path | Sequence[str | Path], every: int = 1, on_unreadable: Unreadable | None = None
) -> PictureReader:
    """Read pictures lazily, one after another.

    Args:
        sources: One source or several: image files; folders, searched for image files at any depth; video files;
            "camera" for the first camera, "camera:1" for the second, and so on, which has no end; "-" for a video or
            an image on the standard input.
        every: Read every n-th frame of a video or camera, starting with the first.
        on_unreadable: Called with the error of an unreadable file or frame, which is then skipped; None raises the
            error, for a frame after all frames of the video that can be read.

    Returns:
        An iterator over the pictures, which says how far it is.

    Raises:
        InputError: At once if a file or folder is missing, there is nothing to read, or `every` is less than 1; during
            iteration if there is no such camera, or a file is unreadable and `on_unreadable` is None.
    """
    if every < 1:
        raise InputError(f"every is {every}; expected at least 1, which reads each frame")
    sources = [sources] if isinstance(sources, (str, os.PathLike)) else sources
    found = [entry for source in sources for entry in _entries(os.fspath(source))]
    if not found:
        raise no_images(sources)
    return PictureReader(found, every, on_unreadable)


class PictureReader(Iterator[Picture]):
    """Iterate over pictures; made by `pictures`.

    Attributes:
        files: Number of all files; None if there is a camera, which has no end.
        done: Number of files read so far; a video counts by the fraction of its frames.
    """

    def __init__(self, found: list[tuple[str, Path]], every: int, on_unreadable: Unreadable | None) -> None:
        self.files = None if any(camera_number(path) is not None for path, _ in found) else len(found)
        self.done = 0.0
        self._every, self._on_unreadable = every, on_unreadable
        self._stream = self._read(found)

    def __next__(self) -> Picture:
        return next(self._stream)

    def _read(self, found: list[tuple[str, Path]]) -> Iterator[Picture]:
        for number, (path, place) in enumerate(found):
            self.done = float(number)
            camera = camera_number(path)
            if camera is not None:
                yield from self._frames(camera, path, place)
                continue
            try:
                if path == STDIN:
                    yield from self._frames("pipe:0", path, place)
                elif place.suffix.lower() in VIDEO_SUFFIXES:
                    yield from self._frames(path, path, place)
                else:
                    picture = Picture(path, open_image(path), place)
                    self.done = number + 1.0
                    yield picture
                    del picture  # or its pixels stay until the next one is read
            except InputError as error:
                if self._on_unreadable is None:
                    raise
                self._on_unreadable(error)
        self.done = float(len(found))

    def _frames(self, source: str | int, path: str, place: Path) -> Iterator[Picture]:
        """Read a video or camera to its end; frames that cannot be decoded are skipped and reported at the end."""
        cv2 = _opencv()
        before = self.done
        with _silenced(cv2), _opened(cv2, source, path) as capture:
            video = isinstance(source, str)
            stated = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))) if video else 0
            opened = time.monotonic()
            rate = capture.get(cv2.CAP_PROP_FPS) / self._every if video else None
            frame = last = 0  # `last`: after the last frame that could be decoded
            corrupt: list[int] = []
            failure = ""
            while frame - last <= MOST_CORRUPT:
                try:
                    pixels = _decoded(capture, wanted=frame % self._every == 0)
                except cv2.error as error:  # the decoder cannot go on
                    failure = f": {' '.join(str(error).split())}"
                    break
                if pixels is None and frame >= stated:
                    break
                if pixels is None:
                    corrupt.append(frame)
                else:
                    last = frame + 1
                    if pixels is not True:
                        seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if video else time.monotonic() - opened
                        image = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
                        name = place.with_name(f"{place.stem}-{frame:06}.png")
                        self.done = before + min(1.0, frame / stated) if stated else before
                        yield Picture(path, image, name, frame, seconds, rate)
                        del image
                frame += 1
        if not video:
            raise InputError(
                f"camera {source} stopped after {frame:,} frames; check that it is connected and not in use"
            )
        if last == 0:
            raise InputError(f"cannot read video {path}: it has no frames that can be decoded; replace the file")
        self._report_corruption(path, corrupt, last, stated, failure)

    def _report_corruption(self, path: str, corrupt: list[int], last: int, stated: int, failure: str) -> None:
        inside = [frame for frame in corrupt if frame < last]
        exact = Path(path).suffix.lower() in COUNTED
        missing = max(0, stated - last) if exact or failure else 0  # of other videos the number is an estimate
        if not inside and not missing and not failure:
            return
        first = inside[0] if inside else last
        raise InputError(
            f"video {path} is corrupt: {len(inside) + missing:,} of {max(stated, last):,} frames cannot be decoded, "
            f"the first is frame {first:,}{failure}; the other frames were read"
        )


def image_files(folder: Path) -> list[Path]:
    """Return the image files below a folder at any depth, sorted by path; warn of other files, hidden ones excepted."""
    images: list[Path] = []
    others: list[Path] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix.lower() in image_suffixes() or (not path.name.startswith(".") and is_image(path)):
            images.append(path)
        elif not path.name.startswith("."):
            others.append(path)
    if others:
        videos = any(path.suffix.lower() in VIDEO_SUFFIXES for path in others)
        warnings.warn(
            f"{folder}: left out {len(others):,} files that are no images or of a kind that is not read: "
            f"{count_suffixes(path.name for path in others)}; first: {others[0].relative_to(folder)}"
            f"{'; give the path of a video itself to read it' if videos else ''}",
            stacklevel=1,  # one place for all callers: Python shows a warning once per place
        )
    return images


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


def camera_number(source: str) -> int | None:
    """Return the number of the camera in "camera" or "camera:1"; None for other sources.

    Raises:
        InputError: If the part after the colon is not a number.
    """
    name, _, number = source.partition(":")
    if name != "camera" or Path(source).exists():
        return None
    if number and not number.isdecimal():
        raise InputError(f"unknown camera {source!r}; expected camera, or camera:1 and so on")
    return int(number or 0)


def is_video(source: str | Path) -> bool:
    """Return whether a source has frames: a video, a camera or the standard input.

    Example:
        >>> is_video("camera:1"), is_video("clip.MP4"), is_video("-"), is_video("photos")
        (True, True, True, False)
    """
    name = os.fspath(source)
    if name == "-" or camera_number(name) is not None:
        return True
    return Path(name).suffix.lower() in VIDEO_SUFFIXES and not Path(name).is_dir()


def missing(source: str) -> InputError:
    """Return the error for a source that does not exist."""
    if is_url(source):
        return url_refused(source)
    return InputError(f"there is no {source}; expected an image, a folder, a video or camera")


def no_images(sources: Sequence[str | Path]) -> InputError:
    """Return the error for folders without images."""
    names = ", ".join(str(source) for source in sources)
    return InputError(f"no images in {names}; expected files ending in {', '.join(_COMMON)}")


def _entries(source: str) -> list[tuple[str, Path]]:
    """Return path and place of each file of a source; a camera is one entry."""
    number = camera_number(source)
    if number is not None:
        return [(f"camera:{number}", Path(f"camera-{number}.png"))]
    if source == "-":
        return [(STDIN, Path(f"{STDIN}.png"))]
    path = Path(source)
    if path.is_dir():
        return [(str(file), file.relative_to(path)) for file in image_files(path)]
    if not path.exists():
        raise missing(source)
    return [(source, Path(path.name))]


def _decoded(capture: Any, *, wanted: bool) -> Any:
    """Return the pixels of the next frame, True if it is not wanted, or None if it cannot be decoded."""
    if not capture.grab():
        return None
    if not wanted:
        return True
    readable, pixels = capture.retrieve()
    return pixels if readable else None


@contextlib.contextmanager
def _opened(cv2: Any, source: str | int, path: str) -> Iterator[Any]:
    capture = cv2.VideoCapture(source)
    try:
        if not capture.isOpened():
            if isinstance(source, int):
                raise InputError(
                    f"cannot open camera {source}; check that it is connected and that this user may open it"
                )
            raise InputError(f"cannot read video {path}: it is corrupt or of an unknown format; replace the file")
        yield capture
    finally:
        capture.release()


def _opencv() -> Any:
    require("cv2", extra="faces", purpose="reading a video or camera")
    import cv2

    return cv2


@contextlib.contextmanager
def _silenced(cv2: Any) -> Iterator[None]:
    """Silence the logs of OpenCV and FFmpeg: this module raises their errors."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    logging = getattr(cv2.utils, "logging", None)
    if logging is None:  # OpenCV 4 has no such functions in Python
        yield
        return
    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)
