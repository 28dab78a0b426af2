"""Hashes of data, so that a result can name exactly what it was measured on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from qcs.data.readers import load
from qcs.data.readers.table import datasets
from qcs.errors import InputError
from qcs.files import replacing

_BLOCK = 1 << 20  # bytes read at once


def manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """SHA-256 of everything in a file or folder.

    Hidden files and folders are left out. For an `.npz` archive that holds a dataset the pixels and labels of each
    split are hashed too: they stay the same when the archive is packed anew.

    Args:
        path: Folder, or any file.

    Returns:
        `sha256` of the whole, `files` (path, relative to the folder, with its hash; sorted), and `splits` for an
        archive.

    Raises:
        InputError: The path does not exist, holds no file, or is a damaged archive.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "list.txt").write_text("face.png 1")
        ...     list(manifest(folder)["files"])
        ['list.txt']
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; expected a folder or a file")
    files = {name: _of_file(file) for name, file in sorted(_files(path))}
    if not files:
        raise InputError(f"{path} holds no file")
    whole = hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in files.items()).encode())
    found: dict[str, Any] = {"sha256": whole.hexdigest(), "files": files}
    if path.suffix.lower() == ".npz" and path.is_file():
        found["splits"] = _of_splits(path)
    return found


def write_manifest(path: str | os.PathLike[str], output: str | os.PathLike[str]) -> dict[str, Any]:
    """Writes the manifest of a file or folder as JSON, whole or not at all, and returns it.

    Raises:
        InputError: As `manifest`, and an output inside the folder, where it would be part of its own data.
        OSError: It cannot be written.
    """
    output = Path(output)
    if Path(path).resolve() in (output.resolve(), *output.resolve().parents):
        raise InputError(
            f"the manifest {output} would lie inside {path} and be part of its own data; write it elsewhere"
        )
    found = manifest(path)
    with replacing(output) as unfinished:
        unfinished.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


def changes(path: str | os.PathLike[str], written: str | os.PathLike[str]) -> list[str]:
    """The files that are not as a manifest says: changed, missing or new.

    Raises:
        InputError: As `manifest`, and a file that is no manifest.
    """
    try:
        before = json.loads(Path(written).read_text(encoding="utf-8"))["files"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{written} is no manifest: {error}; write one with qcs data manifest") from error
    return sorted({name for name, _ in before ^ manifest(path)["files"].items()})


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if not path.is_dir():
        yield path.name, path
        return
    for folder, inside, names in os.walk(path):
        inside[:] = [name for name in inside if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                file = Path(folder, name)
                yield file.relative_to(path).as_posix(), file


def _of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _of_splits(path: Path) -> dict[str, str]:
    found = {}
    for split, images in datasets(load(path, format="npz")[1], None).items():
        digest = hashlib.sha256()
        for image, label in zip(images.images, images.labels, strict=True):
            shape = np.asarray(image).shape
            digest.update(f"{shape} {images.classes[label]}\n".encode() + np.asarray(image).tobytes())
        found[split] = digest.hexdigest()
    return found
