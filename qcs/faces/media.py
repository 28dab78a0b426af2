"""Pictures to look for faces in: image files, folders of them, videos and cameras behind one reader."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from qcs.data.dataset import open_image
from qcs.data.readers import IMAGE_SUFFIXES
from qcs.errors import InputError
from qcs.faces.extra import opencv, quiet

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})

Unreadable = Callable[[InputError], None]


@dataclass(frozen=True)
class Picture:
    """A picture and where it is from.

    Attributes:
        path: The file; or "camera:0".
        image: The picture, grayscale ("L") or color ("RGB").
        place: Where a picture made from this one belongs, relative to a folder; unique but for files of one name.
        frame: Number of the frame in a video or since the camera was opened, from 0; None for an image file.
        seconds: Time of the frame in a video; None for an image file and for a camera.
    """

    path: str
    image: Image.Image
    place: Path
    frame: int | None = None
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Where it is from, for JSON."""
        origin = {"path": self.path, "frame": self.frame, "seconds": self.seconds}
        return {name: value for name, value in origin.items() if value is not None}


def pictures(
    sources: Sequence[str | Path], every: int = 1, on_unreadable: Unreadable | None = None
) -> Iterator[Picture]:
    """Read pictures one after the other.

    Args:
        sources: Image files; folders, searched for image files at any depth; video files; "camera" for the first
            camera, "camera:1" for the second, and so on. A camera never ends by itself.
        every: Of the frames of a video or camera, take the first, then every n-th.
        on_unreadable: Called with the error of a file that cannot be read, which is then passed over; None raises it.

    Returns:
        The pictures, each read when it is asked for.

    Raises:
        InputError: At once if a file or folder is missing, if there is nothing to read, or if `every` is less than 1;
            later if there is no such camera, or a file cannot be read and `on_unreadable` is None.
    """
    if every < 1:
        raise InputError(f"every is {every}; expected at least 1, which takes each frame")
    found = [entry for source in sources for entry in _entries(str(source))]
    if not found:
        raise no_images(sources)
    return _read(found, every, on_unreadable)


def image_files(folder: Path) -> list[Path]:
    """The image files below a folder at any depth, in order of their paths."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def camera_number(source: str) -> int | None:
    """The camera that "camera" or "camera:1" stands for; None for anything else.

    Raises:
        InputError: If what follows the colon is no number.
    """
    name, _, number = source.partition(":")
    if name != "camera" or Path(source).exists():
        return None
    if number and not number.isdecimal():
        raise InputError(f"unknown camera {source!r}; expected camera, or camera:1 and so on")
    return int(number or 0)


def no_images(sources: Sequence[str | Path]) -> InputError:
    """The error of folders without images."""
    names = ", ".join(str(source) for source in sources)
    return InputError(f"no images in {names}; expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}")


def _entries(source: str) -> list[tuple[str, Path]]:
    """Path and place of each file; a camera stands for itself."""
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
    cv2 = opencv("reading a video or camera")
    frame = 0
    with quiet(cv2), _opened(cv2, source, path) as capture:
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
        raise InputError(f"camera {source} stopped after {frame:,} frames; see that it is connected and not in use")
    if frame == 0:
        raise InputError(f"cannot read video {path}: it has no frames; replace the file")


@contextlib.contextmanager
def _opened(cv2: Any, source: str | int, path: str) -> Iterator[Any]:
    capture = cv2.VideoCapture(source)
    try:
        if not capture.isOpened():
            if isinstance(source, int):
                raise InputError(f"no camera {source}; see that it is connected and that this user may open it")
            raise InputError(f"cannot read video {path}: it is damaged or of an unknown format; replace the file")
        yield capture
    finally:
        capture.release()
