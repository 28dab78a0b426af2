"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, in the same folder, that takes the name wanted at the end; after an error nothing is left.

    Args:
        path: The name wanted; a file or an empty folder of that name is replaced.

    Yields:
        A hidden path where nothing is so far, for a file or a folder.

    Raises:
        OSError: If what was written cannot take the name.

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
