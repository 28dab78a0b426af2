"""Embed images in the HTML page: figures as SVG with the colors and font of the page, faces as data URLs."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from PIL import Image

from qcs.faces.image_file import data_url

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FACE = 112  # pixels: longer side of a face; larger ones are shrunk
OVERLAY_DPI = 110  # resolution of pixel images inside a figure

# Colors of the figures and the CSS variables of the page that replace them, in the light and the dark scheme.
COLORS = {
    "#0072b2": "--blue",
    "#d55e00": "--vermillion",
    "#009e73": "--green",
    "#cc79a7": "--purple",
    "#56b4e9": "--sky",
    "#e69f00": "--orange",
    "#000000": "--ink",
    "#4d4d4d": "--muted",
    "#4c4c4c": "--muted",
    "#e5e5e5": "--line",
    "#e6e6e6": "--line",
}


@contextmanager
def plain_text() -> Iterator[None]:
    """Make matplotlib write text as text elements."""
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "qcs", "font.sans-serif": ["DejaVu Sans"]}):
        yield


def inline_svg(figure: Figure, title: str) -> Markup:
    """Return a figure as an SVG element in the colors of the page.

    Args:
        figure: A figure that was drawn under `plain_text`.
        title: Description of the figure for screen readers.
    """
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(
        buffer, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.02, dpi=OVERLAY_DPI, metadata=metadata
    )
    body = buffer.getvalue()
    size = re.search(r'viewBox="([^"]*)"', body)
    inside = body[body.index(">", body.index("<svg")) + 1 : body.rindex("</svg>")]
    inside = re.sub(r"<(metadata|style)\b.*?</\1>", "", inside, flags=re.DOTALL)
    inside = re.sub(r"font: ([^;\"]*?)(\d[\d.]*px)[^;\"]*", r"font-size: \2", inside)
    inside = re.sub(r"font-family: [^;\"]*;? ?", "", inside)
    inside = re.sub(r"#[0-9a-f]{6}\b", lambda found: _themed(found[0]), inside)
    prefix = f"p{zlib.crc32(body.encode()):08x}-"  # ids repeat between figures, and a page holds many
    inside = re.sub(r'(\bid="|href="#|url\(#)', lambda found: found[0] + prefix, inside)
    return Markup('<svg viewBox="{}" role="img" aria-label="{}">{}</svg>').format(
        size[1] if size else "", title, Markup(inside)
    )


def face_url(image: Image.Image) -> str:
    """Return a face as a data URL, shrunk to 112 pixels; small faces without loss."""
    image = image.copy()
    image.thumbnail((FACE, FACE))
    if max(image.size) <= 64:
        return data_url(image, "PNG", optimize=True)
    return data_url(image, "JPEG", quality=85)


def square_pixels(image: Image.Image, side: int) -> np.ndarray:
    """Resize a face to a square of RGB pixels (side, side, 3)."""
    return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


def _themed(color: str) -> str:
    name = COLORS.get(color)
    return f"var({name})" if name else color
