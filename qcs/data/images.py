"""Read image files by their content, and convert every image to 8 bits in one way."""

from __future__ import annotations

import io
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from qcs.errors import InputError, check_choice
from qcs.files import check_regular

if TYPE_CHECKING:
    from torch import Tensor

ImageLike: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any] | Tensor"
"""What `as_image` takes as one picture."""

CHANNELS = ("rgb", "bgr")

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


def as_image(picture: ImageLike, channels: str = "rgb") -> Image.Image:
    """Convert one picture of any kind to grayscale ("L") or color ("RGB") with 8 bits per channel.

    All kinds are scaled in one way: uint8 stays, uint16 is scaled from 0 to 65,535, and floating-point numbers from 0
    to 1. An alpha channel is dropped.

    Args:
        picture: The path of an image file; the content of one (bytes); an image of Pillow; an array (H, W), (H, W, 1),
            (H, W, 3) or (H, W, 4); or a tensor (H, W), (1, H, W), (3, H, W) or (4, H, W).
        channels: Order of the channels of arrays and tensors: `"rgb"`, or `"bgr"` for a frame of OpenCV.

    Returns:
        The image, mode "L" or "RGB"; the same object if it is an image in one of these modes.

    Raises:
        InputError: The picture is of another kind, shape or range, or cannot be read; or `channels` is unknown.

    Example:
        >>> as_image(np.zeros((4, 6, 3), np.uint8)).size
        (6, 4)
        >>> as_image(np.uint8([[[255, 0, 0]]]), channels="bgr").getpixel((0, 0))
        (0, 0, 255)
    """
    check_choice("channels", channels, CHANNELS)
    if isinstance(picture, Image.Image):
        return eight_bit(picture)
    if isinstance(picture, (str, os.PathLike)):
        return open_image(picture)
    if isinstance(picture, bytes):
        return _read(io.BytesIO(picture), f"of {len(picture):,} bytes")
    if isinstance(picture, np.ndarray):
        return _from_array(picture, channels, "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    torch = sys.modules.get("torch")  # without it there is no tensor, and this module works where it is not installed
    if torch is not None and isinstance(picture, torch.Tensor):
        return _from_tensor(picture, channels)
    raise InputError(
        f"got {type(picture).__name__} as a picture; expected a path, the bytes of an image file, an image of Pillow, "
        "a NumPy array or a tensor"
    )


def _from_tensor(tensor: Tensor, channels: str) -> Image.Image:
    expected = "(H, W), (1, H, W), (3, H, W) or (4, H, W)"
    if tensor.ndim not in (2, 3) or (tensor.ndim == 3 and tensor.shape[0] not in (1, 3, 4)):
        raise _wrong_shape("tensor", tuple(tensor.shape), expected)
    pixels = tensor.detach().cpu()
    array = (pixels.float() if pixels.is_floating_point() else pixels).numpy()  # NumPy has no bfloat16
    return _from_array(array if array.ndim == 2 else array.transpose(1, 2, 0), channels, expected)


def _from_array(pixels: npt.NDArray[Any], channels: str, expected: str) -> Image.Image:
    if pixels.ndim not in (2, 3) or 0 in pixels.shape or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise _wrong_shape("array", pixels.shape, expected)
    pixels = _eight_bits(pixels)
    if pixels.ndim == 3:
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels[..., :3]
        if channels == "bgr" and pixels.ndim == 3:
            pixels = pixels[..., ::-1]
    return Image.fromarray(np.ascontiguousarray(pixels))


def _wrong_shape(kind: str, shape: tuple[int, ...], expected: str) -> InputError:
    several = "; pass several pictures as a list" if len(shape) == 4 else ""
    return InputError(f"got {kind} of shape {tuple(shape)} as a picture; expected {expected}{several}")


def _eight_bits(pixels: npt.NDArray[Any], highest: int = 65535) -> npt.NDArray[np.uint8]:
    """Scale pixels to 8 bits: floating-point numbers from 0 to 1, 16 bits from 0 to `highest`; rounded."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        wide = pixels.astype(np.int64).clip(0, highest)
        return ((wide * 255 + highest // 2) // highest).astype(np.uint8)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise InputError(
            f"the pixels are {pixels.dtype}; expected uint8 (0 to 255), uint16 (0 to 65,535) or floating-point numbers "
            "from 0 to 1: convert them, for example with pixels.astype('uint8')"
        )
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):
        raise InputError(
            f"the floating-point pixels range from {low:g} to {high:g}; expected 0 to 1: scale them to 0 to 255 and "
            "convert them to uint8, or divide them by the value of white"
        )
    return (pixels * 255).round().astype(np.uint8)


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read an image file upright, as grayscale ("L") or color ("RGB").

    The content determines the format, not the suffix. The EXIF orientation is applied; see `eight_bit` for the rest.

    Args:
        path: File in a format of `image_formats`.

    Returns:
        The decoded image, mode "L" or "RGB".

    Raises:
        InputError: The file is missing, truncated, empty, not an image, of another format, or holds floating-point
            pixels outside of 0 to 1; or a URL is given.

    Example:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "face.png")
        ...     Image.new("RGBA", (4, 2), "red").save(path)
        ...     open_image(path).mode
        'RGB'
    """
    name = os.fspath(path)
    if is_url(name):
        raise url_refused(name)
    return _read(path, name)


def is_url(name: str) -> bool:
    """Return whether a name is a URL and not a path.

    Example:
        >>> is_url("https://example.org/face.jpg"), is_url("faces/a.jpg")
        (True, False)
    """
    return re.match(r"[a-z][a-z0-9+.-]+://", name, re.IGNORECASE) is not None


def url_refused(name: str) -> InputError:
    """Return the error for a URL in place of a path."""
    return InputError(f"{name} is a URL; download the picture and give the path of its file")


def _read(source: str | os.PathLike[str] | io.BytesIO, name: str) -> Image.Image:
    try:
        if not isinstance(source, io.BytesIO):
            check_regular(source)
        with Image.open(source, formats=image_formats()) as file:
            file.load()  # before it is closed
            ImageOps.exif_transpose(file, in_place=True)
            return eight_bit(file)
    except Exception as error:  # decoders raise many kinds of errors on corrupt files
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = f"its content is none of {', '.join(image_formats())}"
        raise InputError(f"cannot read image {name}: {reason}; replace the file or leave it out of the data") from error


def eight_bit(image: Image.Image) -> Image.Image:
    """Convert an image to grayscale ("L") or color ("RGB") with 8 bits per channel.

    16-bit grayscale is scaled from 0 to 65,535, a TIFF file of 12 bits per pixel from 0 to 4,095, and floating-point
    pixels from 0 to 1. Palettes become RGB, and transparency is dropped.

    Args:
        image: Image in any mode of Pillow.

    Returns:
        The image itself if its mode is "L" or "RGB", else a converted one.

    Raises:
        InputError: The pixels are floating-point numbers outside of 0 to 1.

    Example:
        >>> pixels = np.array([[0, 32896, 65535]], np.uint16)
        >>> np.asarray(eight_bit(Image.fromarray(pixels))).tolist()
        [[0, 128, 255]]
    """
    if image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image)))
    if image.mode.startswith("I"):  # a plain conversion would clip nearly everything to white
        pixels = np.asarray(image, dtype=np.int64).clip(0, 65535).astype(np.uint16)
        return Image.fromarray(_eight_bits(pixels, _HIGHEST[12 if _bits(image) == 12 else 16]))
    # An image in the right mode is returned as it is: `convert` would copy it.
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode in ("1", "LA") else "RGB")


def _bits(image: Image.Image) -> int | None:
    """Return the bits per pixel that a TIFF file states: Pillow gives 12 bits in the mode of 16, unscaled."""
    tags = getattr(image, "tag_v2", None)
    stated = tags.get(258) if tags is not None else None  # BitsPerSample
    return stated[0] if isinstance(stated, tuple) and stated else None
