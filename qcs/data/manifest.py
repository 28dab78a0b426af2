"""Hash data files, to state exactly which data a result was measured on."""

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
from qcs.files import replacing, sha256


def manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the SHA-256 hashes of a file or of all files in a folder.

    Hidden files and folders are skipped. For an `.npz` archive with a dataset, the pixels and labels of each split are
    hashed too; these hashes do not depend on the compression of the archive.

    Args:
        path: A folder or any file.

    Returns:
        `sha256` of everything, `files` (hash by path relative to the folder, sorted), and `splits` for an archive.

    Raises:
        InputError: The path does not exist, holds no file, or is a corrupt archive.

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
    files = {name: sha256(file) for name, file in sorted(_files(path))}
    if not files:
        raise InputError(f"{path} holds no file")
    whole = hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in files.items()).encode())
    found: dict[str, Any] = {"sha256": whole.hexdigest(), "files": files}
    if path.suffix.lower() == ".npz" and path.is_file():
        found["splits"] = _of_splits(path)
    return found


def write_manifest(path: str | os.PathLike[str], output: str | os.PathLike[str]) -> dict[str, Any]:
    """Write the manifest of a file or folder as JSON, atomically, and return it.

    Raises:
        InputError: As `manifest`, or the output lies inside the folder.
        OSError: The output cannot be written.
    """
    output = Path(output)
    if Path(path).resolve() in (output.resolve(), *output.resolve().parents):
        raise InputError(f"the manifest {output} lies inside the data {path}; write it to another folder")
    found = manifest(path)
    with replacing(output) as unfinished:
        unfinished.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found


def changes(path: str | os.PathLike[str], written: str | os.PathLike[str]) -> list[str]:
    """Return the files that differ from a manifest: changed, missing or new.

    Raises:
        InputError: As `manifest`, or `written` is not a manifest.
    """
    try:
        before = json.loads(Path(written).read_text(encoding="utf-8"))["files"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{written} is not a manifest: {error}; write one with qcs data manifest") from error
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


def _of_splits(path: Path) -> dict[str, str]:
    found = {}
    for split, images in datasets(load(path, format="npz")[1], None).items():
        digest = hashlib.sha256()
        for image, label in zip(images.images, images.labels, strict=True):
            shape = np.asarray(image).shape
            digest.update(f"{shape} {images.classes[label]}\n".encode() + np.asarray(image).tobytes())
        found[split] = digest.hexdigest()
    return found
