"""Shared fixtures: threads, seeds, a browser, and the optional research data beside the repository."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import shapes
import torch
from browser import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--check-shapes", action="store_true", help="check the shapes that docstrings state in all calls")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--check-shapes"):
        shapes.install()


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
