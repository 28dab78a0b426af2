"""Encode images: as files on disk and as data URLs."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image

from qcs.errors import InputError
from qcs.files import replacing

BEST: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}


def write_image(image: Image.Image, path: Path) -> None:
    """Write an image file atomically, in the format of its suffix and at high quality.

    Args:
        image: The image.
        path: The file; missing folders are created.

    Raises:
        InputError: If the suffix is not that of an image format that can be written.
        OSError: If the file cannot be written.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise InputError(
            f"cannot write {path}: {path.suffix or 'a name without suffix'} is not an image format; use .png or .jpg"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            image.save(unfinished, kind, **BEST.get(kind, {}))
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error


def data_url(image: Image.Image, format: str, **options: int) -> str:
    """Return an image as a data URL, which a page shows without fetching anything.

    Args:
        image: The image.
        format: "PNG" or "JPEG".
        options: Options of Pillow's encoder, such as `quality`.

    Example:
        >>> data_url(Image.new("L", (1, 1)), "PNG")[:22]
        'data:image/png;base64,'
    """
    file = io.BytesIO()
    image.save(file, format, **options)
    return f"data:image/{format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
