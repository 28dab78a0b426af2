"""Write copies of pictures and videos with their faces marked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image

from qcs.errors import InputError
from qcs.faces.faces import Faces
from qcs.faces.image_file import write_image
from qcs.faces.media import image_files
from qcs.files import writing

MOST_MISSING = 1000  # missing frames in a row that one frame fills


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

    def write(self, faces: Faces, *, again: bool = False) -> None:
        """Write the copy of one picture, or add a frame to that of its video.

        Args:
            faces: The faces and their picture.
            again: Whether an earlier run has written the copy; one that is there is then kept. A video is always
                written, because a video that is not complete cannot be read.

        Raises:
            InputError: If it would replace a picture that is read, its format cannot be written, or there is no
                picture.
            OSError: If it cannot be written.
        """
        picture = faces.picture
        if picture is None:
            raise InputError("the picture of these faces is not known; expected faces of a picture")
        if picture.rate is None:
            self.finish()
            path = self._free(self.folder / picture.place)
            if not (again and path.exists()):
                write_image(faces.annotated(), path)
            self.paths[path] = None
            return
        if self._source != picture.path:
            self.finish()
            self._source = picture.path  # a video that cannot be written is one error, not one per frame
            name = self.folder / picture.place.with_name(f"{Path(picture.path).stem}.mp4")
            self._video = _AnnotatedVideo(self._free(name), picture.rate, picture.image.size)
        if self._video is not None:
            self._video.add(faces.annotated(), picture.seconds or 0.0)

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


def _files(sources: Sequence[str | Path]) -> Iterator[Path]:
    for source in map(Path, sources):
        yield from image_files(source) if source.is_dir() else [source]
