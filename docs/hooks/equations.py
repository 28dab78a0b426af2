"""Convert equations to MathML, which browsers render natively, and inline SVG drawings, which then use page colors."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import latex2mathml.converter

EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
DRAWING = re.compile(r'<img alt="([^"]*)" src="(?:\.\./)*(images/[\w-]+\.svg)" ?/?>')


def on_page_content(page_html: str, config: Any, **_: Any) -> str:
    """Convert a page; MkDocs calls this after it has turned the Markdown into HTML."""
    page_html = EQUATION.sub(_mathml, page_html)
    return DRAWING.sub(lambda found: _drawing(Path(config.docs_dir) / found[2], found[1]), page_html)


def _mathml(found: re.Match[str]) -> str:
    display = "block" if found[1] == "div" else "inline"
    return latex2mathml.converter.convert(html.unescape(found[2]).strip(), display=display)


def _drawing(file: Path, described: str) -> str:
    return file.read_text(encoding="utf-8").replace("<svg ", f'<svg role="img" aria-label="{described}" ', 1)
