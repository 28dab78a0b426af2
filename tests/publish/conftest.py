"""A Hub on this machine, which huggingface_hub in this process speaks to, with an empty cache."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import local_hub
import pytest
from huggingface_hub import close_session, constants


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between attempts, noted instead of waited."""
    noted: list[float] = []
    monkeypatch.setattr(time, "sleep", noted.append)
    return noted


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The cache of downloads."""
    return tmp_path / "cache"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, cache: Path, waits: list[float]) -> Iterator[local_hub.LocalHub]:
    """The Hub, with a token that may write to it."""
    with local_hub.running_hub() as server:
        point_to(monkeypatch, server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", local_hub.TOKEN)
        yield server
    close_session()


def point_to(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """What the environment variable HF_ENDPOINT does before the library is imported."""
    from huggingface_hub import hf_api

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(hf_api.api, "endpoint", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
