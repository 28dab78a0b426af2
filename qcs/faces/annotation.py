"""Draw boxes and labels of faces into images."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image, ImageDraw, ImageFont

from qcs.data.images import ImageLike, as_image
from qcs.faces.face import Face

BOX, TEXT = "#56B4E9", "#000000"  # light blue of Okabe and Ito, visible on skin, safe for color blindness

LEAST_TEXT = 12  # pixels: smallest font size


def annotate(image: ImageLike, labels: Iterable[tuple[Face, str]]) -> Image.Image:
    """Draw boxes and labels into a copy of an image.

    Line width and font size scale with the image.

    Args:
        image: The image, in any form that `qcs.data.as_image` takes.
        labels: Faces and the text above each.

    Returns:
        The annotated image (RGB), of the same size.

    Example:
        >>> face = Face((20, 30, 60, 80), ((32, 45), (48, 45), (40, 55), (33, 65), (47, 65)), 0.99)
        >>> annotate(Image.new("L", (100, 100)), [(face, "happy 93%")]).getpixel((20, 55))
        (86, 180, 233)
    """
    seen = as_image(image)
    drawn = seen.convert("RGB") if seen.mode != "RGB" else seen.copy()
    draw = ImageDraw.Draw(drawn)
    line = max(2, round(max(drawn.size) / 400))
    font = ImageFont.load_default(max(LEAST_TEXT, max(drawn.size) / 50))
    for face, text in labels:
        draw.rectangle(face.box, outline=BOX, width=line)
        _label(draw, face, text, font, line)
    return drawn


def _label(
    draw: ImageDraw.ImageDraw,
    face: Face,
    text: str,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    line: int,
) -> None:
    """Draw a label above the box, aligned with its left edge; move it into the image if there is no space."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 4 * line, bottom - top + 4 * line
    picture_width, picture_height = draw.im.size
    x = max(0, min(face.box[0], picture_width - width))
    y = max(0, min(face.box[1] - height, picture_height - height))
    draw.rectangle((x, y, x + width, y + height), fill=BOX)
    draw.text((x + 2 * line - left, y + 2 * line - top), text, fill=TEXT, font=font)
