"""Pictures inside the page: drawings that take its colors and its font, and faces as they are."""

from __future__ import annotations

import base64
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FACE = 112  # pixels: larger faces are made smaller
OVERLAY_DPI = 110

# The colors that pictures are drawn with, and the page's names for them: light and dark differ.
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
def plain() -> Iterator[None]:
    """Draws text as text, taking nothing in it for mathematics."""
    from matplotlib import rc_context

    with rc_context(
        {"svg.fonttype": "none", "text.parse_math": False, "svg.hashsalt": "qcs", "font.sans-serif": ["DejaVu Sans"]}
    ):
        yield


def drawing(figure: Figure, title: str) -> Markup:
    """A figure, made under `plain`, as an SVG element in the page's colors.

    Args:
        figure: What to show.
        title: What it shows, for those who cannot see it.
    """
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(
        buffer, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.02, dpi=OVERLAY_DPI, metadata=nothing
    )
    body = buffer.getvalue()
    size = re.search(r'viewBox="([^"]*)"', body)
    inside = body[body.index(">", body.index("<svg")) + 1 : body.rindex("</svg>")]
    inside = re.sub(r"<(metadata|style)\b.*?</\1>", "", inside, flags=re.DOTALL)
    inside = re.sub(r"font: ([^;\"]*?)(\d[\d.]*px)[^;\"]*", r"font-size: \2", inside)
    inside = re.sub(r"font-family: [^;\"]*;? ?", "", inside)
    inside = re.sub(r"#[0-9a-f]{6}\b", lambda found: _themed(found[0]), inside)
    own = f"p{zlib.crc32(body.encode()):08x}-"  # one page holds many drawings, whose parts are named alike
    inside = re.sub(r'(\bid="|href="#|url\(#)', lambda found: found[0] + own, inside)
    return Markup('<svg viewBox="{}" role="img" aria-label="{}">{}</svg>').format(
        size[1] if size else "", title, Markup(inside)
    )


def face(image: Image.Image) -> str:
    """A face as the address of an image that the page holds itself."""
    image = image.copy()
    image.thumbnail((FACE, FACE))
    buffer = io.BytesIO()
    small = max(image.size) <= 64
    image.save(buffer, "PNG" if small else "JPEG", **({"optimize": True} if small else {"quality": 85}))
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def pixels(image: Image.Image, side: int) -> np.ndarray:
    """A face as a square of RGB pixels, (side, side, 3)."""
    return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


def _themed(color: str) -> str:
    name = COLORS.get(color)
    return f"var({name})" if name else color
