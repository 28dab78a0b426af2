"""A real browser for tests of pages: the system's Chromium, driven by Playwright, cut off from the network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE = (390, 844)  # pixels
DESKTOP = (1280, 900)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@dataclass
class Watched:
    """A page with what happened on it.

    Attributes:
        page: Playwright's page.
        requests: Addresses asked for, the page's own first; data: and blob: addresses are none.
        errors: What the page complained of, on its console or by an exception.
    """

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def scrolls_sideways(self) -> bool:
        """Whether the page is wider than its window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))

    @property
    def background(self) -> tuple[float, ...]:
        """Color of the page's background: red, green, blue, 0 to 255."""
        color = self.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return tuple(map(float, color.partition("(")[2].rstrip(")").split(",")[:3]))


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; skips the test where Playwright or Chromium is absent."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium found on the path")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield started
        finally:
            started.close()


@contextmanager
def opened(
    browser: Browser,
    address: str | Path,
    size: tuple[int, int] = DESKTOP,
    scheme: Literal["light", "dark"] = "light",
) -> Iterator[Watched]:
    """A page, loaded, in a window of that size and color scheme.

    Args:
        browser: What `chromium` gives.
        address: Address of a server on 127.0.0.1, or an HTML file.
        size: Width and height of the window in pixels.
        scheme: The colors that the reader's system asks for.
    """
    url = address.resolve().as_uri() if isinstance(address, Path) else address
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    try:
        watched = Watched(context.new_page())
        page = watched.page
        page.on("request", lambda request: _note(request.url, watched.requests))
        page.on("console", lambda line: watched.errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: watched.errors.append(str(error)))
        page.goto(url, wait_until="load")
        yield watched
    finally:
        context.close()


def _note(url: str, requests: list[str]) -> None:
    if not url.startswith(("data:", "blob:")):
        requests.append(url)
