"""What is added to the faces: sets of labels, the distribution of votes, doubts; as columns, in words and in files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from commands import Run, fails
from PIL import Image

import qcs
from qcs.engine.answers import AnswerRules
from qcs.errors import InputError
from qcs.faces import Faces
from qcs.models import load_model
from qcs.models.calibration import COVERAGES, RISKS, Calibration, Scaling

CLASSES = ("sad", "neutral", "happy")
SETS = tuple(1 - coverage for coverage in COVERAGES)
STATED = Calibration(
    Scaling((2.0,)), Scaling((0.5,)), "a.npz", "validation", 99, SETS, (None, *[0.7] * (len(RISKS) - 1))
)


def faces(*rows: list[float]) -> Faces:
    return Faces(probabilities=rows, classes=CLASSES)


def test_a_set_holds_the_labels_that_reach_the_threshold_the_likeliest_first() -> None:
    found = AnswerRules(STATED, coverage=0.8)(faces([0.25, 0.70, 0.05], [0.98, 0.01, 0.01]))
    assert found.data["set"] == [["neutral", "sad"], ["sad"]]
    assert [face.summary for face in found] == ["neutral or sad (80%)", "sad (80%)"]
    assert AnswerRules(STATED, coverage=0.801)(faces([0.25, 0.70, 0.05])).data["set"] == [["neutral", "sad"]]


def test_the_distribution_is_that_of_the_votes_temperature() -> None:
    logits = torch.tensor([[1.0, 0.0, -2.0]])
    found = AnswerRules(STATED, distribution=True)(faces(*STATED.label(logits).softmax(-1).tolist()))
    assert STATED.votes is not None
    wanted = STATED.votes(logits).softmax(-1)[0].tolist()
    assert list(found.data["distribution"][0].values()) == pytest.approx(wanted, abs=1e-6)


def test_doubts_say_why_and_take_the_place_of_the_answer() -> None:
    found = AnswerRules(STATED, min_confidence=0.9)(faces([0.25, 0.70, 0.05], [0.98, 0.01, 0.01]))
    assert found.data["doubts"] == [["neutral has 70.0%, less than 90.0%"], []]
    assert repr(found).splitlines()[1:] == [
        "  1  cannot tell: neutral has 70.0%, less than 90.0%",
        "  2  sad 98.0%",
    ]
    assert AnswerRules(STATED, max_risk=0.025)(faces([0.1, 0.69, 0.21])).data["doubts"] == [
        ["neutral has 69.0%, less than 70.0%"]
    ]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"coverage": 0.3}, "coverage must be from 0.5 to 0.99, got 0.3"),
        ({"coverage": 1.5}, "coverage must be from 0.5 to 0.99, got 1.5"),
        ({"min_confidence": 2.0}, "min_confidence must be between 0 and 1, got 2"),
        ({"max_risk": 0.01}, "no confidence of these weights keeps the risk below 0.01; allow a higher risk"),
    ],
)
def test_what_cannot_be_given_is_refused(asked: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AnswerRules(STATED, **asked)  # type: ignore[arg-type]


def test_weights_without_calibration_are_refused_where_one_is_needed() -> None:
    with pytest.raises(InputError, match="these weights are not calibrated, which coverage needs; run qcs calibrate"):
        AnswerRules(None, coverage=0.9)
    without_votes = Calibration(Scaling((2.0,)), None, "a.npz", "validation", 99, SETS)
    with pytest.raises(InputError, match="do not state how annotators vote; run qcs calibrate"):
        AnswerRules(without_votes, distribution=True)


def test_nothing_asked_changes_nothing() -> None:
    plain = faces([0.25, 0.70, 0.05])
    assert AnswerRules(None)(plain) is plain
    assert AnswerRules(STATED, coverage=0.9)(Faces()) == Faces()


def test_the_weights_in_the_package_answer_with_sets_and_distributions() -> None:
    calibration = load_model("qcs_small").calibration
    assert calibration is not None
    assert len(calibration.sets) == len(COVERAGES) and len(calibration.risks) == len(RISKS)
    face = Image.fromarray(toy.squares(1)[0][0])
    found = qcs.predict(face, detect=False, coverage=0.95, distribution=True)
    labels, shares = found.data["set"][0], found.data["distribution"][0]
    assert found[0].label == labels[0] and sum(shares.values()) == pytest.approx(1)
    held = {name for name, value in found[0].probabilities.items() if value >= calibration.least_probability(0.95)}
    assert {*labels} == held | {labels[0]}


def test_the_command_prints_and_writes_them(run: Run, tmp_path: Path) -> None:
    Image.fromarray(toy.squares(1)[0][0]).save("face.png")
    asked = ("--coverage", "0.9", "--distribution", "--min-confidence", "0.999")
    done = run("predict", "face.png", "--no-detect", *asked, "--output", "out.jsonl")
    assert done.status == 0, done.err
    (face,) = json.loads(Path("out.jsonl").read_text())["faces"]
    assert face["coverage"] == 0.9 and face["label"] in face["set"]
    assert np.isclose(sum(face["distribution"].values()), 1)
    assert done.out.splitlines()[0] == f"face.png  cannot tell: {face['doubts'][0]}"
    fails(run("predict", "face.png", "--no-detect", "--coverage", "0.1"), "coverage must be from 0.5 to 0.99, got 0.1")
