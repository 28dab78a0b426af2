"""Read image files by their content, and convert every image to 8 bits in one way."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from functools import cache

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from qcs.errors import InputError
from qcs.files import check_regular

_SAFE = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""Raster formats. Pillow also opens formats such as EPS, which it hands to other programs."""

_HIGHEST = {12: 4095, 16: 65535}  # values of white by bits per pixel


@cache
def image_formats() -> tuple[str, ...]:
    """Return the formats that are read: raster formats that this build of Pillow knows.

    Example:
        >>> "JPEG" in image_formats(), "EPS" in image_formats()
        (True, False)
    """
    Image.init()
    return tuple(name for name in _SAFE if name in Image.OPEN)


@cache
def image_suffixes() -> frozenset[str]:
    """Return the file suffixes of the formats that are read, in lower case.

    Example:
        >>> {".jpg", ".jfif", ".png", ".tif"} <= image_suffixes()
        True
    """
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in image_formats())


def is_image(path: str | os.PathLike[str]) -> bool:
    """Return whether a file has the suffix of a format that is read or, under another name, the content of one.

    A file with such a suffix is not opened: a folder may hold a million. If its content is another one, reading it
    raises an error that names it.
    """
    if os.path.splitext(path)[1].lower() in image_suffixes():
        return True
    try:
        with Image.open(path, formats=image_formats()):
            return True
    except Image.DecompressionBombError:  # an image that is too large; reading it raises an error that says so
        return True
    except Exception:  # decoders raise many kinds of errors on other files
        return False


def count_suffixes(names: Iterable[str]) -> str:
    """Describe files by their suffixes, the most frequent first.

    Example:
        >>> count_suffixes(["a.HEIC", "b.heic", "notes"])
        '.heic 2, without a suffix 1'
    """
    suffixes = Counter(os.path.splitext(name)[1].lower() or "without a suffix" for name in names)
    shown = ", ".join(f"{suffix} {count:,}" for suffix, count in suffixes.most_common(8))
    return f"{shown} and {len(suffixes) - 8} more suffixes" if len(suffixes) > 8 else shown


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read an image file upright, as grayscale ("L") or color ("RGB").

    The content determines the format, not the suffix. The EXIF orientation is applied; see `eight_bit` for the rest.

    Args:
        path: File in a format of `image_formats`.

    Returns:
        The decoded image, mode "L" or "RGB".

    Raises:
        InputError: The file is missing, truncated, empty, not an image, of another format, or holds floating-point
            pixels.

    Example:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "face.png")
        ...     Image.new("RGBA", (4, 2), "red").save(path)
        ...     open_image(path).mode
        'RGB'
    """
    try:
        check_regular(path)
        with Image.open(path, formats=image_formats()) as file:
            file.load()  # before it is closed
            ImageOps.exif_transpose(file, in_place=True)
            return eight_bit(file)
    except Exception as error:  # decoders raise many kinds of errors on corrupt files
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = f"its content is none of {', '.join(image_formats())}"
        raise InputError(
            f"cannot read image {os.fspath(path)}: {reason}; replace the file or leave it out of the data"
        ) from error


def eight_bit(image: Image.Image) -> Image.Image:
    """Convert an image to grayscale ("L") or color ("RGB") with 8 bits per channel.

    16-bit grayscale is scaled from 0 to 65,535, and a TIFF file of 12 bits per pixel from 0 to 4,095. Palettes become
    RGB, and transparency is dropped.

    Args:
        image: Image in any mode of Pillow but floating-point.

    Returns:
        The image itself if its mode is "L" or "RGB", else a converted one.

    Raises:
        InputError: The pixels are floating-point numbers, whose range is unknown.

    Example:
        >>> pixels = np.array([[0, 32896, 65535]], np.uint16)
        >>> np.asarray(eight_bit(Image.fromarray(pixels))).tolist()
        [[0, 128, 255]]
    """
    if image.mode == "F":
        raise InputError(
            "its pixels are floating-point numbers of unknown range; scale them to 0 to 255 and convert them to uint8"
        )
    if image.mode.startswith("I"):  # a plain conversion would clip nearly everything to white
        highest = _HIGHEST[12 if _bits(image) == 12 else 16]
        pixels = np.asarray(image, dtype=np.int64).clip(0, highest)
        return Image.fromarray(((pixels * 255 + highest // 2) // highest).astype(np.uint8))
    # An image in the right mode is returned as it is: `convert` would copy it.
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode in ("1", "LA") else "RGB")


def _bits(image: Image.Image) -> int | None:
    """Return the bits per pixel that a TIFF file states: Pillow gives 12 bits in the mode of 16, unscaled."""
    tags = getattr(image, "tag_v2", None)
    stated = tags.get(258) if tags is not None else None  # BitsPerSample
    return stated[0] if isinstance(stated, tuple) and stated else None
