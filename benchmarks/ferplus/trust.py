"""Measure how reliable the answers of the weights in the package are: calibration, coverage, abstention, votes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.ferplus.audit import NAME
from benchmarks.ferplus.data import Data
from benchmarks.ferplus.looks import look
from benchmarks.ferplus.outputs import logits as kept_logits
from benchmarks.ferplus.vote_distances import compare
from qcs.data import read
from qcs.engine.calibration import SHARES, fit
from qcs.engine.conformal import label_sets, set_thresholds
from qcs.engine.evaluation import wilson
from qcs.engine.prediction_file import Predictions
from qcs.engine.reliability import probability_scores, risk_coverage
from qcs.files import sha256, write_text
from qcs.models import load_model
from qcs.models.calibration import Calibration
from qcs.models.weights import EMBEDDED

COVERED = (0.8, 0.9, 0.95)
PARTS = (1.0, 0.9, 0.8, 0.7, 0.5)  # of the images, the most confident first
STATED_RISKS = (0.1, 0.05)
FOLDER = "trust"  # of the record, in the folder of results


class Answers:
    """Logits of the weights in the package for every set, with what is known about the images.

    Args:
        data: The images.
        cache: Folder of the cached logits.
        results: Folder of the log of looks at the test set.
        command: What asks, for that log.

    Attributes:
        images: The images by set: `validation`, `test`, `muxspace`, and each source of muxspace.
        logits: Their uncalibrated logits (n, K).
        votes: Vote counts (n, 8) of validation and test images.
        calibration: The calibration that the weights state.
    """

    def __init__(self, data: Data, cache: Path, results: Path, command: str) -> None:
        model = load_model(EMBEDDED / f"{NAME}.safetensors")
        assert model.calibration is not None
        self.calibration: Calibration = model.calibration
        shares = read(data.ferplus, votes=SHARES)
        self.images = {name: shares[name].with_classes(model.class_names) for name in ("validation", "test")}
        self.images["muxspace"] = data.muxspace.with_classes(model.class_names)
        found = kept_logits(data, cache, results, command)
        self.logits = {name: torch.from_numpy(each) for name, each in found.items()}
        self.votes = {name: data.votes(name) for name in ("validation", "test")}
        names = self.images["muxspace"].names.tolist()
        for source in sorted({*data.sources.values()} - {""}):
            own = np.array([data.sources[name] == source for name in names])
            self.images[f"muxspace, {source}"] = self.images["muxspace"].subset(own)
            self.logits[f"muxspace, {source}"] = self.logits["muxspace"][torch.from_numpy(own)]

    def labels(self, name: str) -> Tensor:
        """Return the class indices of a set."""
        return torch.from_numpy(self.images[name].labels)


def measure(data: Data, cache: Path, results: Path, command: str = "benchmarks.ferplus trust") -> Path:
    """Measure the weights in the package and write the record.

    Args:
        data: The images.
        cache: Folder of the cached logits.
        results: Folder of the results.
        command: What asks, for the log of looks at the test set.

    Returns:
        The file written.
    """
    file = EMBEDDED / f"{NAME}.safetensors"
    answers = Answers(data, cache, results, command)
    what = "calibration, coverage, abstention and votes of the shipped weights, on test and muxspace"
    with look(results, command, sha256(file), what) as seen:
        record: dict[str, Any] = {
            "name": NAME,
            "calibration": answers.calibration.to_dict(),
            "images": {name: len(images) for name, images in answers.images.items()},
            "scores": scores(answers),
            "coverage": coverage(answers),
            "abstention": abstention(answers),
            "votes": votes(answers),
        }
        seen.update(record["scores"]["test"]["label"])
    return write_text(results / FOLDER / f"{NAME}.json", json.dumps(record, indent=1) + "\n")


def scores(answers: Answers) -> dict[str, Any]:
    """Return ECE, Brier score and NLL by set: uncalibrated, and with every scaling fitted to the validation images."""
    home = answers.images["validation"]
    vector = fit(answers.logits["validation"], home, "vector", "", "")
    scalings: dict[str, Any] = {
        "uncalibrated": lambda logits: logits,
        "label": answers.calibration.label,
        "vector": vector.label,
        "votes": answers.calibration.votes,
    }
    return {
        name: {
            kind: probability_scores(scaling(answers.logits[name]), answers.labels(name)).to_dict()
            for kind, scaling in scalings.items()
        }
        for name in answers.images
    }


def coverage(answers: Answers) -> dict[str, Any]:
    """Return how often sets hold the label, by set of images and stated coverage; `least` is of the worst class.

    `lac` are the sets of the package; `aps` adaptive sets (Romano et al., arXiv 2006.02544), for comparison.
    """
    home = shown(answers, "validation")
    adaptive = set_thresholds(1 - _cumulative(home.probabilities), home.labels, COVERED)
    found: dict[str, Any] = {}
    for name in answers.images:
        each, found[name] = shown(answers, name), {}
        for level, least_mass in zip(COVERED, adaptive, strict=True):
            held = {
                "lac": label_sets(each.probabilities, answers.calibration.least_probability(level)),
                "aps": 1 - _cumulative(each.probabilities) >= least_mass,
            }
            found[name][f"{level:g}"] = {kind: _covered(of, each) for kind, of in held.items()}
    return found


def abstention(answers: Answers) -> dict[str, Any]:
    """Return the share of wrong answers among those given, by set of images.

    `risk` has it for the most confident part of the images; `limits` for the confidence that the weights state for a
    risk: that confidence, the share of images answered, and the share of wrong answers among them with its interval.
    """
    found: dict[str, Any] = {}
    for name in answers.images:
        each = shown(answers, name)
        curve = risk_coverage(each.confidence, each.correct)
        limits = {}
        for risk in STATED_RISKS:
            least = answers.calibration.least_confidence(risk)
            given = each.confidence >= least
            wrong = int((~each.correct[given]).sum())
            limits[f"{risk:g}"] = {
                "confidence": least,
                "answered": float(given.mean()),
                "wrong": [wrong / int(given.sum()), *wilson(wrong, int(given.sum()))],
            }
        at = {f"{part:g}": float(curve.risk[round(part * len(each.labels)) - 1]) for part in PARTS}
        found[name] = {"risk": at, "area": curve.area, "limits": limits}
    return found


def votes(answers: Answers) -> dict[str, Any]:
    """Return how far predicted distributions are from the votes on test images, beside split halves of annotators."""
    logits, scaling = answers.logits["test"], answers.calibration
    assert scaling.votes is not None
    home = answers.votes["validation"]
    return compare(
        {
            "network, temperature of the votes": scaling.votes(logits).softmax(-1).numpy(),
            "network, temperature of the label": scaling.label(logits).softmax(-1).numpy(),
            "network, uncalibrated": logits.softmax(-1).numpy(),
        },
        answers.votes["test"],
        (home / home.sum(1, keepdims=True)).mean(0),
    )


def shown(answers: Answers, name: str) -> Predictions:
    """Return the calibrated predictions for a set."""
    return Predictions.of(answers.images[name], answers.calibration.label(answers.logits[name]))


def _cumulative(probabilities: Any) -> Any:
    """Return the sum of the probabilities of all classes that are more probable, (n, K)."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked = np.take_along_axis(probabilities, order, 1)
    before = np.empty_like(ranked)
    np.put_along_axis(before, order, ranked.cumsum(1) - ranked, 1)
    return before


def _covered(held: Any, each: Predictions) -> dict[str, Any]:
    right = held[np.arange(len(held)), each.labels]
    by_class = {name: right[each.labels == at] for at, name in enumerate(each.classes) if (each.labels == at).any()}
    worst = min(by_class, key=lambda name: float(by_class[name].mean()))
    return {
        "covered": [float(right.mean()), *wilson(int(right.sum()), len(right))],
        "labels": float(held.sum(1).mean()),
        "one label": float((held.sum(1) == 1).mean()),
        "least": {"class": worst, "images": len(by_class[worst]), "covered": float(by_class[worst].mean())},
    }


def read_record(results: Path) -> dict[str, Any]:
    """Return the record that `measure` wrote."""
    return _read(results / FOLDER / f"{NAME}.json")


def records(results: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the records of `trust`, `quality` and `enroll`, from which the page is made."""
    return read_record(results), _read(results / FOLDER / "quality.json"), _read(results / FOLDER / "enroll.json")


def _read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record
