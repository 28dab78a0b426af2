"""Measures and corruptions have known values where these can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.ferplus.corruptions import CORRUPTIONS, OCCLUSIONS, SEVERITY, corrupted
from benchmarks.ferplus.measure import calibration_error, correct, elsewhere, evaluation, packed, probabilities
from benchmarks.ferplus.shortcut import WEARERS, measure, on_regions, shortcut_faces
from qcs import create_model
from qcs.data import LabeledImages

CERTAIN = np.float32([[0.9, 0.1, 0], [0.9, 0, 0.1], [0.1, 0.9, 0], [0.1, 0.8, 0.1]])
LABELS = np.array([0, 2, 1, 1])


def test_accuracy_calibration_and_predictions() -> None:
    images = LabeledImages(np.zeros((4, 8, 8), np.uint8), LABELS, ["happy", "sad", "anger"])
    result = evaluation(CERTAIN, images)
    assert (result.accuracy, result.balanced_accuracy) == (0.75, pytest.approx(2 / 3))
    # Two bins: 0.9 three times with accuracy 2/3, and 0.8 once, right.
    assert calibration_error(CERTAIN, LABELS) == pytest.approx(3 / 4 * (0.9 - 2 / 3) + 1 / 4 * 0.2, abs=1e-6)
    kept = packed(CERTAIN, LABELS)
    assert (kept["labels"], kept["predicted"]) == ("0211", "0011")
    assert correct(kept).tolist() == [True, False, True, True]


class Constant(nn.Module):
    """Prefers its classes in a fixed order, but knows left from right."""

    class_names = ("contempt", "happy", "sad")
    pretrained_cfg = dict(  # noqa: RUF012
        input_size=(1, 4, 4), mean=(0.0,), std=(1.0,), interpolation="bilinear", crop_pct=1.0, num_classes=3
    )

    def forward(self, x: Tensor) -> Tensor:
        left = x[..., 0].mean((1, 2)) > x[..., -1].mean((1, 2))
        return torch.where(left[:, None], torch.tensor([3.0, 1.0, 2.0]), torch.tensor([3.0, 2.0, 1.0]))


def test_elsewhere_only_shared_classes_count() -> None:
    pixels = np.zeros((3, 4, 4), np.uint8)
    pixels[0, :, 0] = 255
    images = LabeledImages(pixels, [0, 1, 2], ["sad", "happy", "bored"])
    result = elsewhere(Constant(), images)  # type: ignore[arg-type]
    assert (result.classes, result.images, result.accuracy) == (("happy", "sad"), 2, 1.0)
    plain, flipped = (probabilities(Constant(), images, tta=m) for m in (False, True))  # type: ignore[arg-type]
    assert plain[0].tolist() != flipped[0].tolist()
    assert flipped[0].argmax() == 0


def test_corruptions_have_their_severity_and_repeat() -> None:
    assert CORRUPTIONS.keys() == SEVERITY.keys()
    gray = np.full((20, 48, 48), 100, np.uint8)
    noisy = {name: corrupted(gray, name).astype(float) for name in CORRUPTIONS}
    assert all((noisy[name] == corrupted(gray, name)).all() for name in CORRUPTIONS)
    assert noisy["noise"].std() == pytest.approx(25, rel=0.02)
    assert (noisy["occlusion"] == 128).sum((1, 2)).tolist() == [16 * 16] * 20
    assert noisy["low light"].mean() == pytest.approx(25, abs=0.2)
    assert noisy["low light"].std() == pytest.approx(5, rel=0.03)
    dot = np.zeros((1, 48, 48), np.uint8)
    dot[0, 20:28, 20:28] = 255
    blurred = corrupted(dot, "blur").astype(float)
    assert blurred.sum() == pytest.approx(dot.sum(), rel=0.01)
    assert blurred[0, 24, 19] > 0


def test_unseen_occlusions_cover_what_they_name_and_leave_the_rest() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (20, 48, 48), dtype=np.uint8)
    covered = {name: corrupted(faces, name) for name in OCCLUSIONS}
    assert all((covered[name] == corrupted(faces, name)).all() for name in OCCLUSIONS)
    changed = {name: (image != faces).mean((1, 2)) for name, image in covered.items()}
    assert (covered["covered mouth"][:, :28] == faces[:, :28]).all() and (changed["covered mouth"] > 0.4).all()
    assert (covered["covered eyes"][:, 12:22] == 0).all() and (changed["covered eyes"] < 10 / 48 + 1e-9).all()
    assert (changed["patch of another face"] <= (16 / 48) ** 2).all() and changed["patch of another face"].mean() > 0.09


def test_glasses_tell_the_class_in_training_only() -> None:
    faces = shortcut_faces({"train": 3, "validation": 2, "test": 2})
    train = faces.splits["train"]
    assert set(train.class_counts().values()) == {3}
    cells = {(int(label), bool(glasses)) for label, glasses in zip(faces.test.labels, faces.glasses, strict=True)}
    assert len(cells) == 14
    assert len(faces.test) == len(faces.masks) == 28
    assert faces.sha256 == shortcut_faces({"train": 3, "validation": 2, "test": 2}).sha256


def test_reliance_on_the_shortcut_and_regions_that_networks_use() -> None:
    faces = shortcut_faces({"train": 2, "validation": 1, "test": 2})
    torch.manual_seed(0)
    measured = {name: measure(create_model(f"{name}_nano", num_classes=7), faces) for name in ("base", "dcs", "qcs")}
    assert measured["base"]["attention"] is None
    assert 0.5 < measured["dcs"]["attention"] < 2
    assert all(0.3 < found["saliency"] < 3 for found in measured.values())
    weights = torch.zeros(1, 4, 4)
    weights[0, :2] = 1
    regions = torch.zeros(1, 4, 4)
    regions[0, 0] = 1  # a quarter of the image has half of the weight
    assert on_regions(weights, regions) == 2.0
    assert WEARERS in faces.test.classes
