"""Read the images dropped on the page: checked before decoding, never written to disk."""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps

from qcs.data.images import eight_bit
from qcs.errors import InputError

MOST_IMAGES = 4
MEGABYTES = 10  # largest file, in units of 2**20 bytes
MOST_PIXELS = 40_000_000  # of one image: a small file can decode to any number of pixels
LONGEST_SIDE = 2048  # pixels: larger images are shrunk, so that an answer takes seconds
FORMATS = ("JPEG", "PNG", "WEBP")
KINDS = "JPEG, PNG or WebP"


@dataclass(frozen=True)
class Upload:
    """A dropped image.

    Attributes:
        name: Name of the file.
        image: The upright image, grayscale ("L") or color ("RGB"), longer side at most `LONGEST_SIDE` pixels.
    """

    name: str
    image: Image.Image


def read_uploads(value: Any) -> list[Upload]:
    """Read the files that the page sends: a list of `{"name": ..., "data": "data:image/png;base64,..."}`.

    Args:
        value: The data received, from the page or any other client.

    Returns:
        The images, in order.

    Raises:
        InputError: If the value is no such list, there are too many files, or one is too large or not a readable image.
    """
    files = value or []
    if not isinstance(files, list) or not all(_is_file(file) for file in files):
        raise InputError("the data received is not a list of images; reload the page and drop the images again")
    if len(files) > MOST_IMAGES:
        raise InputError(f"got {len(files)} images; expected at most {MOST_IMAGES}: remove some")
    return [Upload(file["name"], read_image(file["name"], _content(file))) for file in files]


def read_image(name: str, content: bytes) -> Image.Image:
    """Decode an image within the limits of bytes and pixels.

    Args:
        name: Name of the file, for messages.
        content: Content of the file.

    Returns:
        The upright image, grayscale ("L") or color ("RGB"), shrunk if it is large.

    Raises:
        InputError: If the file is too large or not a readable image.

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
    except Image.DecompressionBombError:  # Pillow's own limit is above MOST_PIXELS
        pass
    except Exception as error:  # decoders raise many kinds of errors on corrupt files
        raise InputError(f"{name} is not a readable image; expected {KINDS}") from error
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
        raise InputError(f"{file['name']} was not transferred completely; drop it again") from error
