"""Define a picture: an image and where it comes from."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from qcs.data.images import ImageLike, as_image, open_image
from qcs.escaping import encodable


@dataclass(frozen=True)
class Picture:
    """An image and its origin.

    Attributes:
        path: Path of the file, or "camera:0".
        loaded: The image, grayscale ("L") or color ("RGB"); None if it is to be read from the file again.
        place: Relative path for an output made from this picture; unique unless two sources have one name.
        frame: Index of the frame in the video, or since the camera was opened; None for an image file.
        seconds: Time of the frame in the video, or since the camera was opened; None for an image file.
        rate: Frames per second of the video, counting only those that are taken; None for others.
    """

    path: str
    loaded: Image.Image | None = field(repr=False, compare=False)
    place: Path
    frame: int | None = None
    seconds: float | None = None
    rate: float | None = field(default=None, repr=False)

    @property
    def image(self) -> Image.Image:
        """The image; read from its file if it is not loaded.

        Raises:
            InputError: If the file cannot be read.
        """
        return open_image(self.path) if self.loaded is None else self.loaded

    def to_dict(self) -> dict[str, Any]:
        """Return the origin, for JSON; a path that is not Unicode is escaped."""
        origin = {"path": encodable(self.path), "frame": self.frame, "seconds": self.seconds}
        return {name: value for name, value in origin.items() if value is not None}


def as_picture(picture: Picture | ImageLike, number: int, channels: str = "rgb") -> Picture:
    """Return a picture in any form with its origin: its path, or its number if it is in memory.

    Raises:
        InputError: If it cannot be read.
    """
    if isinstance(picture, Picture):
        return picture
    if isinstance(picture, (str, os.PathLike)):
        return Picture(os.fspath(picture), open_image(picture), Path(Path(picture).name))
    return Picture(f"picture {number}", as_image(picture, channels), Path(f"{number}.png"))
