"""Nearly equal images of different splits are found, other faces are not."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from qcs import cli
from qcs.data import synthetic_faces
from qcs.data.check import check
from qcs.data.near_duplicates import NEAR, Hashed, difference_hash, near_duplicates

FACES = synthetic_faces(40, size=64, seed=0)
IMAGES = [Image.fromarray(pixels).convert("L") for pixels in FACES.images]


def recompressed(image: Image.Image) -> Image.Image:
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=60)
    return Image.open(stored)


CHANGES = {
    "recompressed": recompressed,
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "flatter": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "enlarged": lambda image: image.resize((150, 150), Image.Resampling.BICUBIC),
}


def hashed(images: list[Image.Image], prefix: str) -> list[Hashed]:
    found = [(f"{prefix}{row}", image.tobytes(), difference_hash(image)) for row, image in enumerate(images)]
    return [Hashed(name, content, bits) for name, content, bits in found if bits is not None]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_image_is_found_as_the_one_it_was(change: str) -> None:
    changed = [CHANGES[change](image) for image in IMAGES[:10]]
    pairs = near_duplicates({"train": hashed(IMAGES, "a"), "test": hashed(changed, "b")})
    own = {(f"a{row}", f"b{row}") for row in range(10)}
    assert len(own & {(pair.name, pair.other_name) for pair in pairs}) >= 8


def test_other_faces_are_not_found() -> None:
    pairs = near_duplicates({"train": hashed(IMAGES[:20], "a"), "test": hashed(IMAGES[20:], "b")})
    assert not pairs


def test_exact_copies_and_uniform_images_are_not_near_duplicates() -> None:
    gray = [Image.new("L", (48, 48), value) for value in (10, 200)]
    assert not near_duplicates({"train": hashed(IMAGES[:3] + gray, "a"), "test": hashed(IMAGES[:3] + gray[:1], "b")})


def test_hashes_of_many_images_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = [CHANGES["darker"](image) for image in IMAGES]
    splits = {"train": hashed(IMAGES, "a"), "test": hashed(changed, "b")}
    whole = near_duplicates(splits)
    monkeypatch.setattr("qcs.data.near_duplicates.BLOCK", 7)
    assert sorted(near_duplicates(splits)) == sorted(whole)
    assert [pair.bits for pair in whole] == sorted(pair.bits for pair in whole) and whole[-1].bits <= NEAR


def test_names_in_the_table_of_pairs_are_no_formulas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, output = tmp_path / "faces.npz", tmp_path / "pairs.csv"
    pixels = [np.asarray(image) for image in (IMAGES[0], IMAGES[1], CHANGES["darker"](IMAGES[0]))]
    np.savez(
        data,
        images=np.stack(pixels),
        labels=["sad", "happy", "sad"],
        split=["train", "train", "test"],
        names=["=1+1", "a", "b"],
    )
    monkeypatch.setattr(sys, "argv", ["qcs", "data", "check", str(data), "--near-duplicates", str(output)])
    with pytest.raises(SystemExit):
        cli.main()
    assert output.read_text().splitlines()[1].startswith("train,'=1+1,test,b,")


def test_the_command_counts_pairs_and_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = [np.asarray(image) for image in IMAGES[:6]]
    pixels.append(np.asarray(CHANGES["darker"](IMAGES[0])))
    data, output = tmp_path / "faces.npz", tmp_path / "pairs.csv"
    np.savez(data, images=np.stack(pixels), labels=["sad", "happy"] * 3 + ["sad"], split=["train"] * 6 + ["test"])
    (pair,) = check(data).near
    assert pair[:4] == ("train", "0", "test", "6")
    monkeypatch.setattr(sys, "argv", ["qcs", "data", "check", str(data), "--near-duplicates", str(output)])
    with pytest.raises(SystemExit):
        cli.main()
    out = capsys.readouterr().out.replace("\n", " ")
    assert "1 images of test are near-duplicates of images of train (1 pairs" in out
    assert output.read_text().splitlines() == ["split,name,other_split,other_name,bits", f"train,0,test,6,{pair.bits}"]
