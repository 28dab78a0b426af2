"""The browser that pages are tested in sees what a reader would, and reaches nothing outside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from browser import PHONE, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAGE = """<!doctype html>
<style>
  body { background: rgb(255, 255, 255) }
  @media (prefers-color-scheme: dark) { body { background: rgb(0, 0, 0) } }
  div { width: 600px }
</style>
<div>wide</div>
<img src="https://example.org/picture.png" alt="">
<script>missing()</script>
"""


def test_a_page_is_seen_in_its_window_and_colors_with_its_errors_and_requests(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(PAGE)
    with opened(browser, file) as desktop, opened(browser, file, PHONE, "dark") as phone:
        assert (desktop.scrolls_sideways, phone.scrolls_sideways) == (False, True)
        assert (desktop.background, phone.background) == ((255, 255, 255), (0, 0, 0))
        assert desktop.requests == [file.as_uri(), "https://example.org/picture.png"]
        assert any("missing is not defined" in error for error in desktop.errors)
        assert any("ERR_NAME_NOT_RESOLVED" in error for error in desktop.errors)  # it never left the machine
