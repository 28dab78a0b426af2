"""What the page takes: images within limits of number, bytes and pixels; anything else gets one line."""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qcs.errors import InputError
from qcs.serve.uploads import LONGEST_SIDE, MEGABYTES, MOST_IMAGES, read_image, read_uploads


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def sent(content: bytes, name: str = "a.png") -> tuple[str, bytes]:
    """Return a file as the server receives it."""
    return name, content


def test_images_arrive_in_order_as_they_were() -> None:
    first, second = Image.effect_noise((40, 30), 60), Image.new("RGB", (20, 20), (10, 200, 30))
    got = read_uploads([sent(encoded(first), "noise.png"), sent(encoded(second), "green.png")])
    assert [(upload.name, upload.image.mode, upload.image.size) for upload in got] == [
        ("noise.png", "L", (40, 30)),
        ("green.png", "RGB", (20, 20)),
    ]
    assert got[0].image.tobytes() == first.tobytes()


def test_nothing_sent_is_nothing() -> None:
    assert read_uploads([]) == []


def test_images_are_upright_and_large_ones_are_shrunk() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter
    wide = Image.linear_gradient("L").resize((2 * LONGEST_SIDE, LONGEST_SIDE // 4))
    image = read_image("phone.jpg", encoded(wide, "JPEG", exif=turned))
    assert image.size == (LONGEST_SIDE // 8, LONGEST_SIDE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_each_kind_that_the_page_names_is_read(kind: str) -> None:
    assert read_image("a", encoded(Image.new("RGB", (9, 7)), kind)).size == (9, 7)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        encoded(Image.effect_noise((64, 64), 60))[:900],
        encoded(Image.new("RGB", (8, 8)), "GIF"),  # other decoders are not let near what comes from a page
        encoded(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF"),
    ],
    ids=["empty", "text", "cut short", "gif", "tiff"],
)
def test_what_is_no_readable_image_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(InputError, match=r"^b\.png is not a readable image; expected JPEG, PNG or WebP$"):
        read_uploads([sent(content, "b.png")])


@pytest.mark.parametrize("size", [(8000, 6000), (60_000, 60_000)])  # below Pillow's own limit, and far above
def test_a_small_file_of_too_many_pixels_is_refused_before_it_is_decoded(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = bytearray(encoded(Image.new("1", (8, 8))))
    bomb[16:24] = b"".join(side.to_bytes(4, "big") for side in size)  # the size that the header states
    bomb[29:33] = crc(bytes(bomb[12:29]))
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("it was decoded"))
    with pytest.raises(InputError, match=r"^bomb\.png has more than 40 million pixels"):
        read_image("bomb.png", bytes(bomb))


def crc(chunk: bytes) -> bytes:
    import zlib

    return zlib.crc32(chunk).to_bytes(4, "big")


def test_a_file_of_too_many_bytes_is_refused() -> None:
    with pytest.raises(InputError, match=r"^big\.jpg is larger than 10 MB; shrink it or choose another$"):
        read_image("big.jpg", bytes(MEGABYTES * 2**20 + 1))


def test_a_fifth_image_is_refused() -> None:
    image = sent(encoded(Image.new("L", (8, 8))))
    assert len(read_uploads([image] * MOST_IMAGES)) == 4
    with pytest.raises(InputError, match=r"^got 5 images; expected at most 4: remove some$"):
        read_uploads([image] * 5)


def test_a_name_that_is_too_long_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError) as refused:
        read_uploads([sent(encoded(Image.new("L", (8, 8))), "n" * 100_000)])
    assert str(refused.value) == "the name of an image has more than 255 characters; rename the file"


def test_a_jpeg_file_of_very_many_passes_is_refused_before_it_is_decoded() -> None:
    content = encoded(Image.effect_noise((3000, 2500), 60), "JPEG", progressive=True)
    assert read_image("a.jpg", content).size == (2048, 1707)
    last = content.rindex(b"\xff\xda")
    start = time.perf_counter()
    with pytest.raises(InputError, match=r"^slow\.jpg is a JPEG file of too many passes; save it"):
        read_image("slow.jpg", content[:last] + 2000 * b"\xff\xda\x00\x08\x01\x01\x00\x3f\x3f\x10\x00" + content[last:])
    assert time.perf_counter() - start < 2
