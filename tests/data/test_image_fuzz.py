"""Corrupt images of every format end in an `InputError` or are read: nothing else, no hang."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from corruption import corrupt_bytes, read_or_refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from qcs.data import as_image
from qcs.data.images import open_image
from qcs.serve.uploads import read_image

EXAMPLES = int(os.environ.get("QCS_FUZZ_EXAMPLES", 300))
KINDS = [
    ("PNG", "RGB", {}), ("PNG", "I;16", {}), ("PNG", "P", {}), ("PNG", "LA", {}), ("JPEG", "RGB", {}),
    ("JPEG", "L", {"progressive": True}), ("JPEG", "CMYK", {}), ("BMP", "RGB", {}), ("GIF", "P", {}),
    ("PPM", "RGB", {}), ("TIFF", "RGB", {}), ("TIFF", "L", {"compression": "tiff_lzw"}), ("TIFF", "F", {}),
    ("WEBP", "RGBA", {}), ("AVIF", "RGB", {}), ("JPEG2000", "RGB", {}), ("MPO", "RGB", {}),
]  # fmt: skip
LIBRARIES = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
TOKENS = [
    b"", b"\0", b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xd8", b"\xff\xda", b"\xff\xd9", b"IDAT", b"IHDR",
    b"acTL", b"iCCP", b"tEXt", b"VP8X", b"ANMF", b"II*\0", b"MM\0*", b"Exif\0\0", b"GIF89a", b"%!PS", b"P6 9 9 255 ",
]  # fmt: skip


@pytest.fixture(scope="module")
def originals() -> list[bytes]:
    """A file of each kind that this build of Pillow writes."""
    contents = []
    for kind, mode, options in KINDS:
        if kind in LIBRARIES and not features.check(LIBRARIES[kind]):
            continue
        file = io.BytesIO()
        Image.effect_noise((24, 20), 60).convert(mode).save(file, kind, **options)
        contents.append(file.getvalue())
    return contents


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 300,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_corrupt_images_are_read_or_refused(data: st.DataObject, originals: list[bytes], tmp_path: Path) -> None:
    content = data.draw(corrupt_bytes(data.draw(st.sampled_from(originals)), TOKENS))
    path = tmp_path / "face.png"
    path.write_bytes(content)
    read_or_refused(
        "images", lambda: open_image(path), lambda: as_image(content), lambda: read_image("face.png", content)
    )
