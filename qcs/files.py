"""Write files and folders that appear complete or not at all; compute checksums."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_UNFINISHED = re.compile(r"\..+\.\d+\.tmp|\.tmp[A-Za-z0-9]{6}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; what is written to it is renamed at the end, or removed on an error.

    Args:
        path: The final path; an existing file or empty folder there is replaced.

    Yields:
        A hidden path that does not exist yet, for a file or a folder.

    Raises:
        OSError: If it cannot be renamed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "list.txt")) as unfinished:
        ...         _ = unfinished.write_text("face.png 1")
        ...     [file.name for file in Path(folder).iterdir()]
        ['list.txt']
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half written in a folder: temporary files of `replacing` and of safetensors.

    Nothing may be writing to the folder.
    """
    for path in folder.glob(".*"):
        if _UNFINISHED.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file in an `OSError` that does not name it, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raise an `OSError` for what is no regular file: opening a named pipe (FIFO) waits for ever, a device never ends.

    Links are followed; a path that does not exist passes, since opening it says so.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError("it is not a regular file")


def write_text(path: Path, text: str) -> Path:
    """Write a text file; it appears complete or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    return path


def sha256(path: Path) -> str:
    """Return the SHA-256 checksum of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
