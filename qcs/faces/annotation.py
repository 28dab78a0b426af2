"""Draw boxes and labels of faces into images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from qcs.data.images import ImageLike, as_image
from qcs.errors import InputError
from qcs.faces.face import Box, Face

BOX, TEXT = "#56B4E9", "#000000"  # light blue of Okabe and Ito, visible on skin, safe for color blindness

LEAST_TEXT = 12  # pixels: smallest font size


def annotate(image: ImageLike, faces: Iterable[Face], texts: Sequence[str] | None = None) -> Image.Image:
    """Draw boxes and labels of faces into a copy of an image.

    Line width and font size scale with the image. A face without a box is not drawn.

    Args:
        image: The image, in any form that `qcs.data.as_image` takes.
        faces: The faces, `Faces` or a list of `Face`.
        texts: The text above each face; None is its number and its most probable class.

    Returns:
        The annotated image (RGB), of the same size.

    Raises:
        InputError: If there are not as many texts as faces.

    Example:
        >>> face = Face((20, 30, 60, 80), ((32, 45), (48, 45), (40, 55), (33, 65), (47, 65)), 0.99)
        >>> annotate(Image.new("L", (100, 100)), [face], ["happy 93%"]).getpixel((20, 55))
        (86, 180, 233)
    """
    faces = list(faces)
    texts = [f"{face.name} {face.summary}" for face in faces] if texts is None else texts
    if len(texts) != len(faces):
        raise InputError(f"got {len(texts)} texts for {len(faces)} faces; expected one for each")
    seen = as_image(image)
    drawn = seen.convert("RGB") if seen.mode != "RGB" else seen.copy()
    draw = ImageDraw.Draw(drawn)
    line = max(2, round(max(drawn.size) / 400))
    font = _font(max(LEAST_TEXT, max(drawn.size) / 50))
    for face, text in zip(faces, texts, strict=True):
        if face.box is not None:
            draw.rectangle(face.box, outline=BOX, width=line)
            _label(draw, face.box, text, font, line)
    return drawn


@lru_cache(maxsize=8)  # a video has thousands of frames of one size
def _font(size: float) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _label(
    draw: ImageDraw.ImageDraw,
    box: Box,
    text: str,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    line: int,
) -> None:
    """Draw a label above the box, aligned with its left edge; move it into the image if there is no space."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 4 * line, bottom - top + 4 * line
    picture_width, picture_height = draw.im.size
    x = max(0, min(box[0], picture_width - width))
    y = max(0, min(box[1] - height, picture_height - height))
    draw.rectangle((x, y, x + width, y + height), fill=BOX)
    draw.text((x + 2 * line - left, y + 2 * line - top), text, fill=TEXT, font=font)
