"""The packages of the extra: found or asked for, and kept from printing what is reported as an error anyway."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from qcs.imports import require


def opencv(what: str) -> Any:
    """The module cv2.

    Args:
        what: What cannot be done without it.

    Raises:
        InputError: If it is not installed.
    """
    require("cv2", extra="faces", purpose=what)
    import cv2

    return cv2


@contextlib.contextmanager
def quiet(cv2: Any) -> Iterator[None]:
    """Nothing of OpenCV's and FFmpeg's own on the error stream."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    logging = cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)
