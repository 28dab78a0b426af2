"""Fetching weights from a repository on the Hub or its folder on disk; their checksum must match its configuration."""

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
OURS = "qcs"  # the section of this library in config.json


def fetch(hub_id: str, filename: str, cache_dir: str | Path | None = None) -> Path:
    """Return a file of a repository, downloaded into the cache unless it is there already.

    Args:
        hub_id: `ORG/NAME`, or `ORG/NAME@REVISION` for a branch, tag or commit.
        filename: The file.
        cache_dir: The cache; None uses that of huggingface_hub.

    Raises:
        InputError: If there is no such repository, revision or file, or the token may not read it.
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
    """Return the configuration of a repository, and the name of the repository with the commit it was read from."""
    path = fetch(hub_id, CONFIG, cache_dir)
    return _parsed(path, f"{CONFIG} of {hub_id}"), f"{hub_id.partition('@')[0]}@{path.parent.name}"


def fetch_weights(hub_id: str, filename: str = WEIGHTS, cache_dir: str | Path | None = None) -> Path:
    """Return the weights of a repository, of the same commit as its configuration, after checking their checksum.

    Args:
        hub_id: As for `fetch`.
        filename: The weights file.
        cache_dir: As for `fetch`.

    Raises:
        InputError: As for `fetch`, or if the checksum differs; the file is then removed from the cache.
        OSError: As for `fetch`.
    """
    config, pinned = fetch_config(hub_id, cache_dir)
    path = fetch(pinned, filename, cache_dir)
    try:
        _check_sha256(path, config, f"{filename} of {hub_id}")
    except InputError:
        for file in (path.resolve(), path):
            with contextlib.suppress(OSError):  # the cache may belong to another user
                file.unlink(missing_ok=True)
        raise
    return path


def folder_config(folder: Path) -> dict[str, Any]:
    """Return the configuration in the folder of a repository on disk.

    Raises:
        InputError: If it is not the folder of a repository.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder} is not the folder of a repository: it has no {name}")
    return _parsed(folder / CONFIG, str(folder / CONFIG))


def folder_weights(folder: Path) -> Path:
    """Return the weights in the folder of a repository on disk, after checking their checksum.

    Raises:
        InputError: If they are missing, or the checksum differs.
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
            f"{str(stated)[:12]}…; fetch it again, and do not use it if this error repeats"
        )
