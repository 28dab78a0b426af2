"""Read images, folders, videos and cameras through one iterator of pictures."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from qcs.data.images import count_suffixes, image_suffixes, is_image, open_image
from qcs.errors import InputError
from qcs.imports import require

_COMMON = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})

Unreadable = Callable[[InputError], None]


@dataclass(frozen=True)
class Picture:
    """An image and its origin.

    Attributes:
        path: Path of the file, or "camera:0".
        image: The image, grayscale ("L") or color ("RGB").
        place: Relative path for an output made from this picture; unique unless two sources have one name.
        frame: Index of the frame in the video, or since the camera was opened; None for an image file.
        seconds: Time of the frame in the video; None for an image file or a camera.
    """

    path: str
    image: Image.Image
    place: Path
    frame: int | None = None
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the origin, for JSON."""
        origin = {"path": self.path, "frame": self.frame, "seconds": self.seconds}
        return {name: value for name, value in origin.items() if value is not None}


def pictures(
    sources: Sequence[str | Path], every: int = 1, on_unreadable: Unreadable | None = None
) -> Iterator[Picture]:
    """Read pictures lazily, one after another.

    Args:
        sources: Image files; folders, searched for image files at any depth; video files; "camera" for the first
            camera, "camera:1" for the second, and so on. A camera has no end.
        every: Read every n-th frame of a video or camera, starting with the first.
        on_unreadable: Called with the error of an unreadable file, which is then skipped; None raises the error.

    Returns:
        An iterator over the pictures.

    Raises:
        InputError: At once if a file or folder is missing, there is nothing to read, or `every` is less than 1; during
            iteration if there is no such camera, or a file is unreadable and `on_unreadable` is None.
    """
    if every < 1:
        raise InputError(f"every is {every}; expected at least 1, which reads each frame")
    found = [entry for source in sources for entry in _entries(str(source))]
    if not found:
        raise no_images(sources)
    return _read(found, every, on_unreadable)


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


def no_images(sources: Sequence[str | Path]) -> InputError:
    """Return the error for folders without images."""
    names = ", ".join(str(source) for source in sources)
    return InputError(f"no images in {names}; expected files ending in {', '.join(_COMMON)}")


def _entries(source: str) -> list[tuple[str, Path]]:
    """Return path and place of each file of a source; a camera is one entry."""
    number = camera_number(source)
    if number is not None:
        return [(f"camera:{number}", Path(f"camera-{number}.png"))]
    path = Path(source)
    if path.is_dir():
        return [(str(file), file.relative_to(path)) for file in image_files(path)]
    if not path.exists():
        raise InputError(f"no image, video or folder at {path}")
    return [(source, Path(path.name))]


def _read(found: list[tuple[str, Path]], every: int, on_unreadable: Unreadable | None) -> Iterator[Picture]:
    for path, place in found:
        camera = camera_number(path)
        if camera is not None:
            yield from _frames(camera, path, place, every)
            continue
        try:
            if place.suffix.lower() in VIDEO_SUFFIXES:
                yield from _frames(path, path, place, every)
            else:
                yield Picture(path, open_image(path), place)
        except InputError as error:
            if on_unreadable is None:
                raise
            on_unreadable(error)


def _frames(source: str | int, path: str, place: Path, every: int) -> Iterator[Picture]:
    cv2 = _opencv()
    frame = 0
    with _silenced(cv2), _opened(cv2, source, path) as capture:
        while capture.grab():
            if frame % every == 0:
                readable, pixels = capture.retrieve()
                if not readable:
                    break
                seconds = None if isinstance(source, int) else capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                image = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
                yield Picture(path, image, place.with_name(f"{place.stem}-{frame:06}.png"), frame, seconds)
            frame += 1
    if isinstance(source, int):
        raise InputError(f"camera {source} stopped after {frame:,} frames; check that it is connected and not in use")
    if frame == 0:
        raise InputError(f"cannot read video {path}: it has no frames; replace the file")


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
    logging = cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)
