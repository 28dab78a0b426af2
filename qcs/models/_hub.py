"""Weights from a repository on the Hub or its folder on disk, refused unless they are those its config describes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download

from qcs.errors import InputError
from qcs.files import sha256
from qcs.models._hub_calls import attempt
from qcs.version import __version__

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
OURS = "qcs"  # the section of config.json that is this library's own


def fetch(hub_id: str, filename: str, cache_dir: str | Path | None = None) -> Path:
    """A file of a repository, downloaded into the cache unless it is there already.

    Args:
        hub_id: `ORG/NAME`, or `ORG/NAME@REVISION` for a branch, tag or commit.
        filename: The file.
        cache_dir: The cache; None takes huggingface_hub's own.

    Returns:
        Its path on this machine.

    Raises:
        InputError: If there is no such repository, revision or file, or no permission to read it.
        OSError: If the Hub cannot be reached or the file cannot be stored.
    """
    repository, _, revision = hub_id.partition("@")
    path = attempt(
        lambda: hf_hub_download(
            repository,
            filename,
            revision=revision or None,
            cache_dir=cache_dir,
            library_name="qcs",
            library_version=__version__,
        ),
        f"fetch {filename} of {hub_id}",
    )
    return Path(path)


def fetch_config(hub_id: str, cache_dir: str | Path | None = None) -> tuple[dict[str, Any], str]:
    """The configuration of a repository, and the repository's name with the commit that it was read from."""
    path = fetch(hub_id, CONFIG, cache_dir)
    return _parsed(path, f"{CONFIG} of {hub_id}"), f"{hub_id.partition('@')[0]}@{path.parent.name}"


def fetch_weights(hub_id: str, filename: str = WEIGHTS, cache_dir: str | Path | None = None) -> Path:
    """The weights of a repository, of the same commit as its configuration and with the checksum stated there.

    Args:
        hub_id: As for `fetch`.
        filename: The weights file.
        cache_dir: As for `fetch`.

    Raises:
        InputError: As for `fetch`, or if the file is not the one described; it is then taken out of the cache.
        OSError: As for `fetch`.
    """
    config, pinned = fetch_config(hub_id, cache_dir)
    path = fetch(pinned, filename, cache_dir)
    try:
        _check_sha256(path, config, f"{filename} of {hub_id}")
    except InputError:
        for file in (path.resolve(), path):
            with contextlib.suppress(OSError):  # a cache that others own stays as it is
                file.unlink(missing_ok=True)
        raise
    return path


def folder_config(folder: Path) -> dict[str, Any]:
    """The configuration in a repository's folder on disk.

    Raises:
        InputError: If the folder is not one of a repository.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder} is not the folder of a repository: it has no {name}")
    return _parsed(folder / CONFIG, str(folder / CONFIG))


def folder_weights(folder: Path) -> Path:
    """The weights in a repository's folder on disk.

    Raises:
        InputError: If they are missing, or not those that the folder's configuration describes.
    """
    _check_sha256(folder / WEIGHTS, folder_config(folder), str(folder / WEIGHTS))
    return folder / WEIGHTS


def _parsed(path: Path, where: str) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{where} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{where} holds a {type(config).__name__}, expected an object with architecture and more")
    return config


def _check_sha256(path: Path, config: dict[str, Any], where: str) -> None:
    ours = config.get(OURS)
    stated = ours.get("sha256", {}).get(path.name) if isinstance(ours, dict) else None
    if stated is not None and (found := sha256(path)) != stated:
        raise InputError(
            f"{where} is not the file that {CONFIG} describes: its SHA-256 is {found[:12]}…, expected "
            f"{str(stated)[:12]}…; fetch it again, and if this comes back, do not use it"
        )
