"""Measure whether a few labeled faces of a person help to tell the expression of a new face of that person.

Every image of a person with several is asked about once; the others of the person, five at most, are enrolled with
their labels. The answer with the enrolled faces is compared with the answer without, and with a sham: faces of *other*
people with the same labels, so that what remains is due to the person.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from timm.data import resolve_model_data_config
from torch import Tensor
from torch.nn import functional as F

from benchmarks.ferplus.audit import NAME
from benchmarks.ferplus.data import Data
from benchmarks.ferplus.looks import look
from qcs import functional as QF
from qcs.data import LabeledImages, eval_transform
from qcs.data.synthetic import synthetic_faces
from qcs.files import sha256, write_text
from qcs.models import CrossSimilarityNetwork, load_model
from qcs.models.weights import EMBEDDED
from qcs.report.statistics import Weights, bootstrap
from qcs.visualize.maps import compare

FOLDER = "trust"  # of the record, in the folder of results
FILE = "enroll.json"
ENROLLED = 5  # faces of a person at most
STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
SHIFTS = (0.0, 0.25, 0.5, 0.75, 1.0)
PEOPLE, EACH = 40, 14  # synthetic people, and faces of each
BATCH = 64
Floats = npt.NDArray[np.float64]


class Faces:
    """Calibrated logits and query-keys of the faces of people with several faces.

    Attributes:
        logits: (n, K).
        query_keys: In the cross modules, (levels, n, N, C).
        labels: (n,).
        people: Index of the person, (n,).
    """

    def __init__(self, model: CrossSimilarityNetwork, images: LabeledImages, people: npt.NDArray[Any]) -> None:
        prepare = eval_transform(resolve_model_data_config(model))
        batch = torch.stack([prepare(images.image(row)) for row in range(len(images))])
        with torch.inference_mode():
            logits = torch.cat([model(part) for part in torch.split(batch, BATCH)])
        assert model.calibration is not None
        self.logits = model.calibration.label(logits).log_softmax(-1)
        self.query_keys = torch.cat([compare(model, part).query_keys for part in torch.split(batch, BATCH)], 1)
        self.labels, self.people = images.labels, np.unique(people, return_inverse=True)[1]
        self.neutral = images.classes.index("neutral")


def enrolled(faces: Faces, sham: bool, seed: int = 0) -> list[npt.NDArray[np.int64]]:
    """Return the rows of the faces that are enrolled for each face: others of the person, a neutral one first.

    Args:
        faces: The faces.
        sham: Take faces of other people with the same labels instead.
        seed: Seed of the draws.
    """
    generator, found = np.random.default_rng(seed), []
    for row, person in enumerate(faces.people):
        own = np.flatnonzero((faces.people == person) & (np.arange(len(faces.people)) != row))
        own = generator.permutation(own)
        neutral = faces.labels[own] == faces.neutral
        found.append(np.concatenate([own[neutral][:1], own[~neutral], own[neutral][1:]])[:ENROLLED])
    if not sham:
        return found

    def other(row: int, person: int) -> int:
        same = np.flatnonzero((faces.labels == faces.labels[row]) & (faces.people != person))
        return int(generator.choice(same)) if len(same) else row

    return [
        np.array([other(int(row), int(person)) for row in rows])
        for rows, person in zip(found, faces.people, strict=True)
    ]


def by_similarity(faces: Faces, rows: list[npt.NDArray[np.int64]], *, cross: bool) -> Callable[[float], Tensor]:
    """Return answers by their similarity to the enrolled faces, as log-probabilities (n, K) for a strength.

    Cross similarity weights the tokens of both faces; the cosine of their weighted means is the similarity. The class
    with the most similar enrolled face gains the most, relative to the mean over the enrolled faces. Without `cross`,
    all tokens have the same weight.
    """
    query = torch.tensor([at for at, own in enumerate(rows) for _ in own])
    key = torch.tensor(np.concatenate(rows))
    levels, similarities = len(faces.query_keys), []
    for part in torch.split(torch.arange(len(query)), BATCH):
        q, k = (faces.query_keys[:, at[part]].flatten(0, 1) for at in (query, key))
        uniform = torch.full(q.shape[:2], 1 / q.shape[1])
        w_q, w_k = QF.cross_similarity(q, k, scope="sample") if cross else (uniform, uniform)
        cosines = F.cosine_similarity((w_q[..., None] * q).sum(1), (w_k[..., None] * k).sum(1))
        similarities.append(torch.unflatten(cosines, 0, (levels, -1)).mean(0))
    similarity = torch.cat(similarities)
    evidence, start = torch.zeros_like(faces.logits), 0
    for at, own in enumerate(rows):
        found, start = similarity[start : start + len(own)], start + len(own)
        for label in np.unique(faces.labels[own]):
            of_label = torch.from_numpy(faces.labels[own] == label)
            evidence[at, label] = found[of_label].max() - found.mean()
    return lambda strength: (faces.logits + strength * evidence).log_softmax(-1)


def by_neutral(faces: Faces, rows: list[npt.NDArray[np.int64]]) -> Callable[[float], Tensor]:
    """Return answers relative to the enrolled neutral faces, as log-probabilities (n, K) for a share of the shift."""
    usual = faces.logits[torch.from_numpy(faces.labels == faces.neutral)].mean(0)
    shift = torch.zeros_like(faces.logits)
    for at, own in enumerate(rows):
        neutral = own[faces.labels[own] == faces.neutral]
        if len(neutral):
            shift[at] = usual - faces.logits[torch.from_numpy(neutral)].mean(0)
    return lambda share: (faces.logits + share * shift).log_softmax(-1)


def crossfitted(
    faces: Faces, answer: Callable[[float], Tensor], values: tuple[float, ...]
) -> tuple[Tensor, list[float]]:
    """Return answers whose strength was fitted, by likelihood, on the other half of the people; and both strengths."""
    labels, found, chosen = torch.from_numpy(faces.labels), faces.logits.clone(), []
    shown = {value: answer(value) for value in values}
    for half in (0, 1):
        others = torch.from_numpy(faces.people % 2 != half)
        best = min(values, key=lambda value: float(F.nll_loss(shown[value][others], labels[others])))
        found[~others] = shown[best][~others]
        chosen.append(best)
    return found, chosen


def effects(faces: Faces) -> dict[str, Any]:
    """Return accuracy and NLL without and with enrolled faces, and the differences with intervals over people."""
    own, sham = enrolled(faces, sham=False), enrolled(faces, sham=True)
    arms: dict[str, tuple[Callable[..., Any], tuple[float, ...]]] = {
        "cross similarity": (lambda rows: by_similarity(faces, rows, cross=True), STRENGTHS),
        "uniform weights": (lambda rows: by_similarity(faces, rows, cross=False), STRENGTHS),
        "own neutral": (lambda rows: by_neutral(faces, rows), SHIFTS),
    }
    result: dict[str, Any] = {
        "images": len(faces.labels),
        "people": int(faces.people.max()) + 1,
        "with a neutral face enrolled": float(np.mean([(faces.labels[rows] == faces.neutral).any() for rows in own])),
        "without": _measures(faces, faces.logits),
        "arms": {},
    }
    for name, (arm, values) in arms.items():
        with_own, strengths = crossfitted(faces, arm(own), values)
        with_sham, _ = crossfitted(faces, arm(sham), values)
        result["arms"][name] = {
            "strengths": strengths,
            "with": _measures(faces, with_own),
            "sham": _measures(faces, with_sham),
            "minus without": _differences(faces, with_own, faces.logits),
            "minus sham": _differences(faces, with_own, with_sham),
        }
    return result


def _right(faces: Faces, answers: Tensor) -> Floats:
    right: Floats = (answers.argmax(-1).numpy() == faces.labels).astype(np.float64)
    return right


def _loss(faces: Faces, answers: Tensor) -> Floats:
    loss: Floats = -answers.numpy()[np.arange(len(faces.labels)), faces.labels].astype(np.float64)
    return loss


def _measures(faces: Faces, answers: Tensor) -> dict[str, float]:
    return {"accuracy": float(_right(faces, answers).mean()), "nll": float(_loss(faces, answers).mean())}


def _differences(faces: Faces, first: Tensor, second: Tensor) -> dict[str, list[float]]:
    """Return the differences of accuracy and NLL, each `[value, low, high]`."""

    def interval(values: Floats) -> list[float]:
        def statistic(weights: Weights) -> Floats:
            mean: Floats = weights.astype(np.float64) @ values / weights.sum(1, dtype=np.float64)
            return mean

        found = bootstrap(statistic, len(values), faces.people.astype(str))
        return [found.value, found.low, found.high]

    return {
        "accuracy": interval(_right(faces, first) - _right(faces, second)),
        "nll": interval(_loss(faces, first) - _loss(faces, second)),
    }


def measure(data: Data, results: Path, command: str = "benchmarks.ferplus enroll") -> Path:
    """Measure enrollment on muxspace, by source, and on synthetic people; write the record.

    Args:
        data: The images.
        results: Folder of the results.
        command: What asks, for the log of looks at the test set.

    Returns:
        The file written.
    """
    file = EMBEDDED / f"{NAME}.safetensors"
    model = load_model(file)
    assert isinstance(model, CrossSimilarityNetwork)
    record: dict[str, Any] = {"name": NAME, "enrolled": ENROLLED, "sets": {}}
    with look(results, command, sha256(file), "enrolled faces of muxspace subjects with several images") as seen:
        everyone = data.muxspace.with_classes(model.class_names)
        sources = np.array([data.sources[name] for name in everyone.names.tolist()])
        for source in sorted({*sources.tolist()} - {""}):
            images = everyone.subset(sources == source)
            assert images.subjects is not None
            counts = dict(zip(*np.unique(images.subjects, return_counts=True), strict=True))
            images = images.subset(np.array([counts[person] > 1 for person in images.subjects]))
            assert images.subjects is not None
            record["sets"][f"muxspace, {source}"] = effects(Faces(model, images, images.subjects))
        seen.update(record["sets"])
    drawn = synthetic_faces(PEOPLE * EACH, identities=PEOPLE)
    gray = [np.asarray(Image.fromarray(image).convert("L")) for image in drawn.images]
    synthetic = LabeledImages(gray, drawn.labels, drawn.classes).with_classes(model.class_names)
    record["sets"]["synthetic people"] = effects(Faces(model, synthetic, drawn.identities))
    return write_text(results / FOLDER / FILE, json.dumps(record, indent=1) + "\n")
