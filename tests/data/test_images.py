from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, features
from timm.data import resolve_model_data_config

import qcs
from qcs.data import eval_transform, read
from qcs.data.images import as_image, eight_bit, image_formats, image_suffixes, is_image, open_image
from qcs.engine import classify
from qcs.errors import InputError

KINDS = {".jfif": "JPEG", ".jpe": "JPEG", ".jp2": "JPEG2000", ".mpo": "MPO", ".pnm": "PPM", ".webp": "WEBP"}
if features.check("avif"):
    KINDS[".avif"] = "AVIF"


def noise(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 24, 3), dtype=np.uint8))


def content(kind: str, seed: int = 0) -> bytes:
    file = io.BytesIO()
    noise(seed).save(file, kind)
    return file.getvalue()


# ---- kinds


@pytest.mark.parametrize("suffix", KINDS)
def test_images_of_every_safe_suffix_are_read_from_class_folders(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "sad").mkdir()
    for number in range(2):
        (tmp_path / "sad" / f"{number}{suffix}").write_bytes(content(KINDS[suffix], number))
    images = read(tmp_path)["all"]
    assert len(images) == 2
    assert images[0][0].size == (24, 32)


@pytest.mark.parametrize("name", ["face", "face.dat", "face.txt", "face.jpeg_large", "face.png"])
def test_the_content_makes_an_image_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(content("JPEG"))
    assert is_image(tmp_path / name)
    assert open_image(tmp_path / name).size == (24, 32)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("photo.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n"),
        ("photo.png", b"\xd7\xcd\xc6\x9a" + bytes(60)),
        ("photo.tif", b"%PDF-1.4\n%%EOF\n"),
        ("photo.jpeg", b"\0\0\0\x18ftypheic" + bytes(64)),
    ],
    ids=["EPS", "WMF", "PDF", "HEIC"],
)
def test_formats_that_run_programs_or_are_not_read_are_refused_under_any_name(
    tmp_path: Path, name: str, start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for plugin in ("EPS", "WMF"):
        monkeypatch.setattr(ImageFile, "StubImageFile", None)
        assert plugin not in image_formats()
    path = tmp_path / name
    path.write_bytes(start)
    with pytest.raises(InputError, match=r"cannot read image .*: its content is none of .*JPEG.*; replace the file"):
        open_image(path)
    path = tmp_path / "photo"
    path.write_bytes(start)
    assert not is_image(path)


def test_no_suffix_of_a_drawing_language_counts_as_an_image() -> None:
    assert not image_suffixes() & {".eps", ".ps", ".pdf", ".wmf", ".emf", ".svg", ".txt", ""}


# ---- one scale


def ramp(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture of so many bits, and the same one in 8 bits."""
    gray = np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8)
    return np.round(gray * ((2**bits - 1) / 255)).astype(np.uint16), gray


def twelve_bit_tiff(path: Path) -> None:
    pixels, _ = ramp(12)
    pairs = pixels.reshape(-1, 2).astype(np.uint32)
    packed = (pairs[:, 0] << 12 | pairs[:, 1]).astype(">u4").tobytes()
    data = b"".join(packed[4 * i + 1 : 4 * i + 4] for i in range(len(pairs)))
    entries = [
        (256, 3, 64), (257, 3, 64), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 0), (277, 3, 1), (278, 3, 64),
        (279, 4, len(data)),
    ]  # fmt: skip
    start = 8 + 2 + 12 * len(entries) + 4
    body = b"".join(
        tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + (1).to_bytes(4, "little")
        + (start if tag == 273 else value).to_bytes(4, "little")
        for tag, kind, value in entries
    )  # fmt: skip
    path.write_bytes(b"II*\0\x08\0\0\0" + len(entries).to_bytes(2, "little") + body + bytes(4) + data)


def saved(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    if name == "12.tif":
        twelve_bit_tiff(path)
    elif name == "12.pgm":
        path.write_bytes(b"P5 64 64 4095\n" + ramp(12)[0].astype(">u2").tobytes())
    else:
        Image.fromarray(ramp(16)[0]).save(path)
    return path


FILES = ["16.png", "16.tif", "16.jp2", "12.tif", "12.pgm"]


@pytest.mark.parametrize("name", FILES)
def test_more_than_eight_bits_are_scaled_in_one_way(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, name)
    expected = ramp(8)[1]
    assert np.array_equal(np.asarray(open_image(path)), expected)
    assert np.array_equal(np.asarray(eight_bit(Image.open(path))), expected)


@pytest.mark.parametrize("name", FILES[:2])
def test_a_16_bit_picture_has_the_same_answer_opened_by_pillow_or_the_library(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, name)
    model = qcs.create_model("qcs_nano").eval()
    transform = eval_transform(resolve_model_data_config(model))
    opened, read_here = Image.open(path), open_image(path)
    assert (transform(opened) == transform(read_here)).all()
    first, second = classify(model, [opened, read_here])
    assert first.probabilities == second.probabilities


def test_floating_point_pictures_beyond_0_to_1_are_refused_everywhere_with_what_to_do() -> None:
    picture = Image.new("F", (64, 64), 1.5)
    model = qcs.create_model("qcs_nano").eval()
    with pytest.raises(InputError, match="scale them to 0 to 255 and convert them to uint8"):
        eight_bit(picture)
    with pytest.raises(InputError, match="floating-point"):
        classify(model, [picture])
    advised = Image.fromarray((np.asarray(picture) / 1.5 * 255).astype(np.uint8))
    assert len(classify(model, [advised])) == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_other_mode_is_prepared(mode: str, channels: int) -> None:
    config = dict(input_size=(channels, 16, 16), mean=(0.5,) * channels, std=(0.5,) * channels, crop_pct=1.0)
    assert eval_transform({**config, "interpolation": "bilinear"})(Image.new(mode, (20, 18))).shape == (
        channels,
        16,
        16,
    )


def test_floating_point_pictures_are_scaled_in_one_way_in_every_form() -> None:
    gray = ramp(8)[1]
    values = (gray / 255).astype(np.float32)
    forms = [
        Image.fromarray(values),
        values,
        values[..., None],
        torch.from_numpy(values),
        torch.from_numpy(values)[None],
    ]
    for form in (*forms, ramp(16)[0], Image.fromarray(ramp(16)[0])):
        assert np.array_equal(np.asarray(as_image(form)), gray)


def test_frames_of_opencv_and_transparent_arrays_become_rgb() -> None:
    blue = np.full((4, 6, 4), (255, 0, 0, 9), np.uint8)
    assert as_image(blue, "bgr").getpixel((0, 0)) == (0, 0, 255)
    assert as_image(blue[..., :3]).getpixel((0, 0)) == (255, 0, 0)
    assert as_image(torch.from_numpy(blue).permute(2, 0, 1), "bgr").getpixel((5, 3)) == (0, 0, 255)


def test_an_image_in_the_right_mode_is_not_copied() -> None:
    picture = noise()
    assert as_image(picture) is picture


@pytest.mark.parametrize("shape", [(3, 32, 24), (32, 24, 2), (0, 4), (5,)])
def test_arrays_of_other_shapes_are_refused_with_what_is_expected(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"got array of shape .* as a picture; expected \(H, W\), \(H, W, 1\)"):
        as_image(np.zeros(shape, np.uint8))
