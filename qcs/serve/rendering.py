"""Render the templates of the page, with all values escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from qcs.escaping import encodable

FOLDER = Path(__file__).parent / "templates"


def render(name: str, **values: Any) -> str:
    """Render a template.

    Example:
        >>> print(render("problem.html", problem="<b>.png is no image"))
        <p class="qcs-problem" role="alert">&lt;b&gt;.png is no image</p>
    """
    return encodable(_environment().get_template(name).render(values))


def text(name: str) -> str:
    """Return a file of the template folder unchanged."""
    return (FOLDER / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
