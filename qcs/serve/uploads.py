"""What was dropped on the page, as pictures: checked before it is decoded, and never written to disk."""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps

from qcs.data.dataset import eight_bit
from qcs.errors import InputError

MOST_IMAGES = 4
MEGABYTES = 10  # of 2**20 bytes, of one file
MOST_PIXELS = 40_000_000  # of one image: a few kilobytes can state any number of them
LONGEST_SIDE = 2048  # pixels: what larger images are shrunk to, so that an answer takes seconds
FORMATS = ("JPEG", "PNG", "WEBP")
KINDS = "JPEG, PNG or WebP"


@dataclass(frozen=True)
class Upload:
    """An image that was dropped.

    Attributes:
        name: Of the file.
        image: Upright, grayscale ("L") or color ("RGB"), its longer side at most `LONGEST_SIDE` pixels.
    """

    name: str
    image: Image.Image


def read_uploads(value: Any) -> list[Upload]:
    """Read what the page sends: a list of files, each `{"name": ..., "data": "data:image/png;base64,..."}`.

    Args:
        value: What was sent, by the page or by anything else.

    Returns:
        The images, in order; none if there are none.

    Raises:
        InputError: If it is no such list, there are too many files, or one is too large or no readable image.
    """
    files = value or []
    if not isinstance(files, list) or not all(_is_file(file) for file in files):
        raise InputError("what was sent are no images; reload the page and drop them again")
    if len(files) > MOST_IMAGES:
        raise InputError(f"{len(files)} images; expected at most {MOST_IMAGES}: remove some")
    return [Upload(file["name"], read_image(file["name"], _content(file))) for file in files]


def read_image(name: str, content: bytes) -> Image.Image:
    """Decode an image within the limits of bytes and pixels.

    Args:
        name: Of the file, for messages.
        content: The file.

    Returns:
        The image, upright, grayscale ("L") or color ("RGB"), shrunk if it is large.

    Raises:
        InputError: If it is too large or no readable image.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGBA", (3000, 1500)).save(file, "PNG")
        >>> read_image("wide.png", file.getvalue()).size
        (2048, 1024)
    """
    if len(content) > MEGABYTES * 2**20:
        raise InputError(f"{name} is larger than {MEGABYTES} MB; shrink it or choose another")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as file:
            if file.width * file.height <= MOST_PIXELS:
                return _decoded(file)
    except Image.DecompressionBombError:  # Pillow's own limit is above ours
        pass
    except Exception as error:  # decoders of damaged files raise far more kinds than OSError
        raise InputError(f"{name} is no image that can be read; expected {KINDS}") from error
    raise InputError(f"{name} has more than {MOST_PIXELS / 1e6:.0f} million pixels; shrink it or choose another")


def _decoded(file: Image.Image) -> Image.Image:
    file.draft(None, (LONGEST_SIDE, LONGEST_SIDE))  # a large JPEG is decoded at a fraction of its size
    image = eight_bit(ImageOps.exif_transpose(file))
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return image


def _is_file(file: Any) -> bool:
    return isinstance(file, dict) and isinstance(file.get("name"), str) and isinstance(file.get("data"), str)


def _content(file: dict[str, str]) -> bytes:
    _, _, encoded = file["data"].partition("base64,")
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise InputError(f"{file['name']} did not arrive whole; drop it again") from error
