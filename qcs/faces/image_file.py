"""Images written to disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from PIL import Image

BEST: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}


def write_image(image: Image.Image, path: Path) -> None:
    """Write an image in the format of its name, with little loss or none, whole or not at all.

    Args:
        image: What to write.
        path: Where to; missing folders are made.

    Raises:
        OSError: If it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    kind = Image.registered_extensions()[path.suffix.lower()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(unfinished, kind, **BEST.get(kind, {}))
        os.replace(unfinished, path)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
