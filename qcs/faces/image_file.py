"""Images written to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from qcs.errors import InputError
from qcs.files import replacing

BEST: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}


def write_image(image: Image.Image, path: Path) -> None:
    """Write an image in the format of its name, with little loss or none, whole or not at all.

    Args:
        image: What to write.
        path: Where to; missing folders are made.

    Raises:
        InputError: If the name does not end in that of a kind of pictures that can be written.
        OSError: If it cannot be written.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise InputError(f"cannot write {path}: pictures are not written as {path.suffix or 'files without suffix'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            image.save(unfinished, kind, **BEST.get(kind, {}))
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error
