"""Answer more than the most probable class: sets with a stated coverage, the distribution of votes, "cannot tell"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qcs.engine.conformal import label_sets
from qcs.errors import InputError
from qcs.faces import Face, Faces, Picture
from qcs.faces.alignment import DEFAULT
from qcs.faces.quality import QualityGate
from qcs.models.calibration import Calibration

LEAST = 1e-45  # a probability of 0 in single precision counts as this


@dataclass(frozen=True)
class AnswerRules:
    """Add to classified faces what was asked for beside the probabilities, as columns of `Faces.data`.

    * `set`: the labels of which one is right with the probability `coverage`, the most probable first.
    * `distribution`: how annotators would vote, by class.
    * `doubts`: why the label should not be trusted, one sentence each; empty if it may.

    Args:
        calibration: The calibration of the weights; None if they have none.
        coverage: Probability with which the set holds the right label; None for no sets.
        min_confidence: Confidence below which the answer is "cannot tell"; None for no such limit.
        max_risk: Share of wrong answers that is accepted among those given; None for no such limit.
        distribution: Whether to give the distribution of votes.
        gate: Limits of the quality of a face, whose picture must be known; None for no limits.
        crop: Crop template of the faces, for the gate.

    Raises:
        InputError: If a number is out of range, or the weights do not state what is asked for.

    Example:
        >>> faces = Faces(probabilities=[[0.6, 0.3, 0.1]], classes=("sad", "neutral", "happy"))
        >>> AnswerRules(None, min_confidence=0.9)(faces)
        1 face
          1  cannot tell: sad has 60.0%, less than 90.0%
    """

    calibration: Calibration | None
    coverage: float | None = None
    min_confidence: float | None = None
    max_risk: float | None = None
    distribution: bool = False
    gate: QualityGate | None = None
    crop: str = DEFAULT

    def __post_init__(self) -> None:
        for name in ("min_confidence", "max_risk"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise InputError(f"{name} must be between 0 and 1, got {value:g}")
        needs = [name for name in ("coverage", "max_risk", "distribution") if getattr(self, name) not in (None, False)]
        if needs and self.calibration is None:
            raise InputError(f"these weights are not calibrated, which {needs[0]} needs; run qcs calibrate first")
        if self.calibration is not None:
            _ = self._threshold, self._limit  # an impossible number is an error before anything is predicted
            if self.distribution and (self.calibration.votes is None or self.calibration.label.temperature is None):
                raise InputError(
                    "these weights do not state how annotators vote; run qcs calibrate (temperature) on data with votes"
                )

    @property
    def any(self) -> bool:
        """Whether anything is asked for."""
        numbers = (self.coverage, self.min_confidence, self.max_risk)
        return self.distribution or any(number is not None for number in (*numbers, self.gate))

    @property
    def _threshold(self) -> float | None:
        if self.calibration is None or self.coverage is None:
            return None
        return self.calibration.least_probability(self.coverage)

    @property
    def _limit(self) -> float | None:
        limits = [self.min_confidence] if self.min_confidence else []
        if self.calibration is not None and self.max_risk:
            limits.append(self.calibration.least_confidence(self.max_risk))
        return max(limits, default=None)

    def __call__(self, faces: Faces) -> Faces:
        """Return the faces with the columns that are asked for; faces that are not classified stay as they are."""
        if faces.probabilities is None or not self.any:
            return faces
        columns: dict[str, Any] = {}
        if self._threshold is not None:
            held = label_sets(faces.probabilities, self._threshold)
            columns["set"] = [_named(row, of, faces.classes) for row, of in zip(faces.probabilities, held, strict=True)]
            columns["coverage"] = [self.coverage] * len(faces)
        if self.distribution:
            columns["distribution"] = [dict(zip(faces.classes, row, strict=True)) for row in self._votes(faces)]
        if self.gate is not None or self._limit is not None:
            columns["doubts"] = [self._doubts(face, faces.picture) for face in faces]
        return replace(faces, data={**faces.data, **columns})

    def _doubts(self, face: Face, picture: Picture | None) -> list[str]:
        found = [] if self.gate is None or picture is None else self.gate(picture.image, face, self.crop)
        return found if self._limit is None else [*found, *_unsure(face.label, face.probabilities or {}, self._limit)]

    def _votes(self, faces: Faces) -> list[list[float]]:
        """Return the distribution of votes (n, K): the label's temperature is undone, that of the votes applied."""
        assert self.calibration is not None and self.calibration.votes is not None and faces.probabilities is not None
        plain = np.log(faces.probabilities.clip(LEAST)) * self.calibration.label.temperature
        plain -= np.log(np.exp(plain).sum(-1, keepdims=True))
        scaled = plain * np.array(self.calibration.votes.scale) + np.array(self.calibration.votes.bias or (0.0,))
        powers = np.exp(scaled - scaled.max(-1, keepdims=True))
        shares: list[list[float]] = (powers / powers.sum(-1, keepdims=True)).tolist()
        return shares


def _named(probabilities: Any, held: Any, classes: tuple[str, ...]) -> list[str]:
    return [classes[at] for at in np.argsort(-probabilities, kind="stable") if held[at]]


def _unsure(label: str, probabilities: Mapping[str, float], limit: float) -> list[str]:
    found = probabilities[label]
    return [] if found >= limit else [f"{label} has {found:.1%}, less than {limit:.1%}"]


def answer_rules(calibration: Calibration | None, *, quality: bool = False, **asked: Any) -> AnswerRules:
    """Return the rules, with the limits of the package for the quality of a face if `quality`; see `AnswerRules`."""
    return AnswerRules(calibration, gate=QualityGate() if quality else None, **asked)
