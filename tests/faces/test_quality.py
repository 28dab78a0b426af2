"""The quality gate: each reason on faces that have it and on none that has not; limits that follow from the record."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import qcs
from benchmarks.ferplus.run import RESULTS
from qcs.engine.answers import answer_rules
from qcs.engine.prediction import predict_faces
from qcs.faces import Face, Faces, QualityGate
from qcs.faces.quality import sharpness

FRONTAL = ((80.0, 90.0), (120.0, 90.0), (100.0, 112.0), (84.0, 132.0), (116.0, 132.0))
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8))


def face(scale: float = 1.0, nose: float = 0.0, shift: float = 0.0) -> Face:
    points = np.array(FRONTAL) * scale
    points[2, 0] += nose * 40 * scale
    points[:, 0] += shift
    box = (70 * scale + shift, 65 * scale, 130 * scale + shift, 145 * scale)
    return Face(box, tuple(map(tuple, points.tolist())), 0.99)  # type: ignore[arg-type]


def test_a_sharp_frontal_face_has_no_doubts() -> None:
    assert QualityGate()(NOISE, face()) == []


@pytest.mark.parametrize(
    ("image", "shown", "reason"),
    [
        (NOISE, face(0.2), "the face is 16 pixels high, fewer than 24"),
        (Image.linear_gradient("L").resize((200, 200)), face(), "the face is blurred: sharpness 0.0"),
        (NOISE, face(nose=0.5), "the head is turned: by 0.5"),
        (NOISE, face(shift=-100), "the edge of the picture cuts off "),
    ],
)
def test_each_reason_is_given_alone(image: Image.Image, shown: Face, reason: str) -> None:
    (doubt,) = QualityGate()(image, shown)
    assert doubt.startswith(reason)


def test_a_tilted_head_is_not_turned() -> None:
    turned = np.array([(90, 80), (90, 120), (68, 100), (48, 84), (48, 116)], float) + 40
    tilted = Face((60, 100, 150, 180), tuple(map(tuple, turned.tolist())), 0.99)  # type: ignore[arg-type]
    assert QualityGate()(NOISE, tilted) == []


def test_sharpness_ignores_contrast_and_brightness() -> None:
    darker = Image.fromarray((np.asarray(NOISE) // 4 + 20).astype(np.uint8))
    assert sharpness(darker) == pytest.approx(sharpness(NOISE), rel=0.05)


def test_a_cropped_face_is_its_whole_image() -> None:
    assert QualityGate()(NOISE, Face()) == []
    assert QualityGate()(NOISE.resize((20, 20)), Face())[0] == "the face is 20 pixels high, fewer than 24"


def test_the_limits_are_those_of_the_record() -> None:
    record = json.loads((RESULTS / "trust" / "quality.json").read_text())
    whole = record["heights"]["48"]["accuracy"]
    near = [int(height) for height, found in record["heights"].items() if found["accuracy"] >= whole - 0.1]
    assert min(near) == QualityGate().least_height
    blurs = [found["sharpness"]["5%"] for found in record["blurs"].values() if found["accuracy"] >= whole - 0.1]
    assert round(min(blurs), 2) == QualityGate().least_sharpness


def test_doubts_are_one_line_per_face_and_the_label_stays() -> None:
    model = qcs.create_model("base_nano", num_classes=2).eval()
    shown = [face(0.2), face(nose=0.5)]
    (found,) = predict_faces(model, NOISE, detector=lambda image: Faces.of(shown))  # type: ignore[arg-type]
    doubted = answer_rules(None, quality=True)(found)
    lines = repr(doubted).splitlines()[1:]
    assert len(lines) == len(doubted) == 2 and all("cannot tell: " in line for line in lines)
    assert doubted.labels == found.labels
