"""Order and coverage of tests; shared fixtures: threads, seeds, a browser, a Hub, and the optional research data."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import local_hub
import pytest
import shapes
import torch
from browser import chromium
from huggingface_hub import close_session, constants

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]
LONGEST = "test_parity.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stress", type=int, default=2, metavar="N", help="ends of a training per kind in test_stress.py")
    parser.addoption("--stress-seed", type=int, default=0, metavar="N", help="seed of the moments of these ends")
    parser.addoption("--check-shapes", action="store_true", help="check the shapes that docstrings state in all calls")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--check-shapes"):
        shapes.install()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start the longest tests first, so that no worker waits for one at the end; measure coverage in quick tests only.

    Tracing makes Python code slower by a third or more, and quick tests reach what slow ones do.
    """
    items.sort(key=lambda item: item.path.name != LONGEST)
    if config.pluginmanager.hasplugin("_cov"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker("no_cover")


@pytest.fixture(scope="session", autouse=True)
def _one_thread_per_worker() -> None:
    """Parallel test workers with several threads each slow one another down many times over."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the research data; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("QCS_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "ferplus.npz").exists():
        pytest.skip(f"research data not found at {folder}; set QCS_DATA to its folder")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium for `browser.opened`; closed after each module, for while it is open no other event loop can run."""
    with chromium() as started:
        yield started


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between attempts, recorded instead of waited."""
    recorded: list[float] = []
    monkeypatch.setattr(time, "sleep", recorded.append)
    return recorded


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The cache of downloads."""
    return tmp_path / "cache"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, cache: Path, waits: list[float]) -> Iterator[local_hub.LocalHub]:
    """A Hub on this machine that huggingface_hub in this process uses, with a token that may write to it."""
    with local_hub.running_hub() as server:
        _point_to(monkeypatch, server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", local_hub.TOKEN)
        yield server
    close_session()


def _point_to(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Do what the environment variable HF_ENDPOINT does before huggingface_hub is imported."""
    from huggingface_hub import hf_api

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(hf_api.api, "endpoint", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
