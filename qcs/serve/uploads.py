"""Read the images dropped on the page: checked before decoding, never written to disk."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageOps

from qcs.data.images import eight_bit
from qcs.errors import InputError

MOST_IMAGES = 4
MOST_FACES = 4  # that are compared
MEGABYTES = 10  # largest file, in units of 2**20 bytes
MOST_PIXELS = 40_000_000  # of one image: a small file can decode to any number of pixels
MOST_SCANNED = 16 * MOST_PIXELS  # pixels times passes of a progressive JPEG: each pass takes as long as an image
START_OF_SCAN = b"\xff\xda"  # marker of a pass; compressed data never contains it
LONGEST_NAME = 255  # characters
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


def read_uploads(files: Sequence[tuple[str, bytes]]) -> list[Upload]:
    """Read the files that the page sends.

    Args:
        files: Name and content of each.

    Returns:
        The images, in order.

    Raises:
        InputError: If there are too many files, a name is too long, or a file is too large or not a readable image.
    """
    if len(files) > MOST_IMAGES:
        raise InputError(f"got {len(files)} images; expected at most {MOST_IMAGES}: remove some")
    if any(len(name) > LONGEST_NAME for name, _ in files):
        raise InputError(f"the name of an image has more than {LONGEST_NAME} characters; rename the file")
    return [Upload(name, read_image(name, content)) for name, content in files]


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
            if file.width * file.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            if file.width * file.height * content.count(START_OF_SCAN) <= MOST_SCANNED:
                return _decoded(file)
    except Image.DecompressionBombError:  # Pillow's own limit is above MOST_PIXELS
        raise InputError(
            f"{name} has more than {MOST_PIXELS / 1e6:.0f} million pixels; shrink it or choose another"
        ) from None
    except Exception as error:  # decoders raise many kinds of errors on corrupt files
        raise InputError(f"{name} is not a readable image; expected {KINDS}") from error
    raise InputError(f"{name} is a JPEG file of too many passes; save it in another program or choose another")


def _decoded(file: Image.Image) -> Image.Image:
    file.draft(None, (LONGEST_SIDE, LONGEST_SIDE))  # a large JPEG is decoded at a fraction of its size
    image = eight_bit(ImageOps.exif_transpose(file))
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return image
