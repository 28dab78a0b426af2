from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from qcs.data.dataset import LabeledImages
from qcs.data.images import open_image
from qcs.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 10), dtype=np.uint8)
LABELS = [0, 1, 2, 2, 1, 2]
CLASSES = ["happy", "Contempt", "angry"]


def faces() -> LabeledImages:
    return LabeledImages(PIXELS, LABELS, CLASSES, names=[f"face{i}" for i in range(6)])


def to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image))


def test_arrays_give_their_own_pixels_labels_and_canonical_classes() -> None:
    data = faces()
    image, label = data[4]
    assert (image.mode, image.size, label, type(label)) == ("L", (10, 8), 1, int)
    assert np.array_equal(np.array(image), PIXELS[4])
    assert data.classes == ("happy", "contempt", "anger")
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == LABELS


def test_color_arrays_give_color_images() -> None:
    pixels = np.stack([PIXELS] * 3, axis=-1)
    image = LabeledImages(pixels, LABELS, CLASSES).image(2)
    assert image.mode == "RGB"
    assert np.array_equal(np.array(image), pixels[2])


def test_files_are_named_by_their_path_and_opened_when_asked_for(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "not written yet.png"]
    Image.fromarray(PIXELS[0]).save(paths[0])
    data = LabeledImages(paths, [0, 1], CLASSES)
    assert data.names.tolist() == [str(path) for path in paths]
    assert np.array_equal(np.array(data.image(0)), PIXELS[0])


def test_class_counts_list_every_class_in_order() -> None:
    counts = LabeledImages(PIXELS[:2], [2, 2], CLASSES).class_counts()
    assert list(counts.items()) == [("happy", 0), ("contempt", 0), ("anger", 2)]


@pytest.mark.parametrize("chosen", [[5, 1], np.array([5, 1]), np.arange(6) % 4 == 1])
def test_subset_takes_positions_or_a_mask(chosen: Any) -> None:
    data = faces().subset(chosen)
    assert sorted(data.names.tolist()) == ["face1", "face5"]
    assert {name: int(label) for name, label in zip(data.names, data.labels, strict=True)} == {"face1": 1, "face5": 2}


def test_subset_of_nothing_is_empty() -> None:
    assert len(faces().subset([])) == 0


def test_copies_share_the_pixels_and_leave_the_original_alone() -> None:
    data = faces()
    part = data.subset([3, 4]).with_transform(to_tensor).with_classes(["anger", "contempt"])
    assert np.shares_memory(part.images[0], PIXELS)
    assert torch.equal(part[0][0], torch.from_numpy(PIXELS[3]))
    assert (len(data), data.transform, data.classes) == (6, None, ("happy", "contempt", "anger"))


def test_relabeling_goes_by_name_and_drops_what_the_target_lacks() -> None:
    data = faces().with_classes(["Anger", "fear", "Happiness"])
    assert data.classes == ("anger", "fear", "happy")
    assert data.labels.tolist() == [2, 0, 0, 0]
    assert data.names.tolist() == ["face0", "face2", "face3", "face5"]


def test_soft_targets_subjects_and_boxes_stay_with_their_images() -> None:
    soft = np.eye(3, dtype=np.float32)[LABELS]
    data = LabeledImages(
        PIXELS, LABELS, CLASSES, soft=soft, subjects=list("abcdef"), boxes=[[i, 0, 10, 8] for i in range(6)]
    )
    part = data.subset([4, 1])
    assert part.soft is not None and part.soft.tolist() == [[0, 1, 0], [0, 1, 0]]
    assert part.subjects is not None and part.subjects.tolist() == ["e", "b"]
    assert [part.image(row).size for row in (0, 1)] == [(6, 8), (9, 8)]
    assert np.array_equal(np.array(part.image(0)), PIXELS[4][:, 4:])


def test_boxes_are_cut_at_the_edge_of_the_image_and_refused_beyond_it() -> None:
    data = LabeledImages(PIXELS, LABELS, CLASSES, boxes=[[-3, -3, 4, 5], [8, 6, 99, 99], *[[10, 0, 12, 4]] * 4])
    assert [data.image(row).size for row in (0, 1)] == [(4, 5), (2, 2)]
    with pytest.raises(InputError, match=r"the box .*10, 0, 12, 4.* of 5 lies outside its image of 10x8 pixels"):
        data.image(5)


def test_soft_targets_follow_their_classes_by_name_and_stay_shares() -> None:
    shares = [[0.5, 0.25, 0.25], [0, 1, 0], [0, 0, 1], [0.2, 0.2, 0.6], [0, 1, 0], [0.5, 0, 0.5]]
    data = LabeledImages(PIXELS, LABELS, CLASSES, soft=shares).with_classes(["anger", "fear", "happy"])
    assert data.soft is not None
    assert data.labels.tolist() == [2, 0, 0, 0]
    expected = [[1 / 3, 0, 2 / 3], [1, 0, 0], [0.75, 0, 0.25], [0.5, 0, 0.5]]
    assert np.allclose(data.soft, expected)
    several = LabeledImages(PIXELS, LABELS, CLASSES, soft=[[1, 1, 0.001]] * 6).with_classes(["happy", "anger"])
    assert several.soft is not None and np.allclose(several.soft, [[1, 0.001]] * 4)  # no shares, so left alone


def test_relabeling_to_foreign_classes_names_both_lists() -> None:
    with pytest.raises(InputError, match=r"happy, contempt, anger; wanted cat, dog"):
        faces().with_classes(["cat", "dog"])


def test_a_loader_batches_transformed_images() -> None:
    data = faces().with_transform(to_tensor)
    images, labels = next(iter(DataLoader(data, batch_sampler=[[5, 0, 1]])))
    assert torch.equal(images, torch.from_numpy(PIXELS[[5, 0, 1]]))
    assert labels.tolist() == [2, 0, 1]


def test_worker_processes_can_receive_it() -> None:
    data = pickle.loads(pickle.dumps(faces().with_transform(to_tensor)))
    assert torch.equal(data[1][0], torch.from_numpy(PIXELS[1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": PIXELS.astype(float)}, "an image is float64 of shape .* expected uint8"),
        ({"images": np.zeros((6, 3, 8, 8), np.uint8)}, r"shape \(3, 8, 8\); expected"),
        ({"images": np.zeros(6, np.uint8)}, r"shape \(\); expected"),
        ({"images": np.zeros((6, 0, 8), np.uint8)}, r"shape \(0, 8\); expected"),
        ({"labels": [0, 1]}, r"labels have shape \(2,\); expected one for each of the 6 images"),
        ({"labels": [0.0] * 6}, "labels are float64; expected whole numbers"),
        ({"labels": [0, 1, 3, 0, -1, 0]}, r"label 3 of image face2 \(row 2\) is out of range: expected 0 to 2"),
        ({"labels": [0, 1, 0, 0, -1, 0]}, r"label -1 of image face4 \(row 4\)"),
        ({"classes": ["anger", "Angry", "fear"]}, "class names are anger, anger, fear; expected .* each once"),
        ({"classes": []}, "class names are missing"),
        ({"soft": [[1, 0]] * 6}, r"soft targets have shape \(6, 2\); expected \(6, 3\)"),
        ({"soft": [[1, 0, -1]] * 6}, r"soft targets are not all in \[0, 1\]; expected the target of each class"),
        ({"soft": [[1, 0, float("nan")]] * 6}, r"soft targets are not all in \[0, 1\]"),
        ({"subjects": ["ann"]}, r"subjects have shape \(1,\); expected \(6,\)"),
        ({"boxes": [[0, 0, 8, 8]]}, r"boxes have shape \(1, 4\); expected \(6, 4\)"),
        (
            {"boxes": [[0, 0, 8, 8], [5, 0, 5, 8]] * 3},
            r"the box \[5, 0, 5, 8\] of face1 \(row 1\) is empty; expected left",
        ),
        ({"names": ["a"]}, r"names have shape \(1,\); expected one for each of the 6 images"),
    ],
)
def test_bad_arrays_are_refused_with_the_place(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "images": PIXELS,
        "labels": LABELS,
        "classes": CLASSES,
        "names": [f"face{i}" for i in range(6)],
    }
    with pytest.raises(InputError, match=message):
        LabeledImages(**(good | change))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("1", "L"), ("L", "L"), ("LA", "L"), ("P", "RGB"), ("RGBA", "RGB"), ("CMYK", "RGB"), ("RGB", "RGB")],
)
def test_files_of_every_kind_come_out_gray_or_color(tmp_path: Path, mode: str, expected: str) -> None:
    path = tmp_path / ("face.tif" if mode == "CMYK" else "face.png")
    Image.new("RGB", (5, 4), "white").convert(mode).save(path)
    image = open_image(path)
    assert (image.mode, image.size) == (expected, (5, 4))
    assert np.array(image).min() == 255


@pytest.mark.parametrize("suffix", ["png", "pgm", "tif"])
def test_sixteen_bit_gray_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"face.{suffix}"
    Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16)).save(path)
    image = open_image(path)
    assert (image.mode, np.array(image).tolist()) == ("L", [[0, 100, 255]])


def test_photographs_stored_on_their_side_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.new("L", (1, 1)).getexif()
    exif[0x0112] = 6  # "turn a quarter clockwise to view"
    stored = Image.fromarray(np.array([[0, 255]], np.uint8))
    stored.save(tmp_path / "face.png", exif=exif)
    assert np.array(open_image(tmp_path / "face.png")).tolist() == [[0], [255]]


def _truncated(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1000])


CORRUPTION: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no image\nat all"),
    "truncated": _truncated,
    "a folder": lambda path: path.mkdir(),
    "values beyond 0 to 1": lambda path: Image.new("F", (4, 4), 7.5).save(path, format="TIFF"),
}


@pytest.mark.parametrize("corruption", CORRUPTION)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_file_that_cannot_be_used_is_named_in_one_line(tmp_path: Path, corruption: str, suffix: str) -> None:
    path = tmp_path / f"broken.{suffix}"
    CORRUPTION[corruption](path)
    with pytest.raises(InputError, match=r"cannot read image .*broken.*; replace the file or leave it out") as caught:
        LabeledImages([path], [0], ["happy"])[0]
    assert "\n" not in str(caught.value)
