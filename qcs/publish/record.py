"""What is known of some weights from the files of the run that made them; nothing else is published about them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qcs.engine.run_folder import weights_file
from qcs.errors import InputError
from qcs.models.weights import read_config

SPLITS = ("test", "validation")
SETTINGS = (
    "init",
    "backbone",
    "pretrained_backbone",
    "freeze_backbone",
    "crop",
    "votes",
    "soft_labels",
    "teacher_share",
    "epochs",
    "minutes",
    "batch_size",
    "images_per_step",
    "accumulate",
    "lr",
    "schedule",
    "layer_decay",
    "weight_decay",
    "sam_rho",
    "clip_grad",
    "ema",
    "patience",
    "distillation",
    "label_smoothing",
    "class_weights",
    "balance",
    "negatives",
    "fraction",
    "resize",
    "rotation",
    "scale",
    "erasing",
    "color_jitter",
    "seed",
)  # of a training, those that say how the weights came about; none of them is a path
Z95 = 1.959964  # a normal variable lies this many standard deviations from its mean or nearer with 95 %


@dataclass(frozen=True)
class Score:
    """A network's result on one set of images.

    Attributes:
        classes: Class names in index order.
        confusion: Counts, rows the true class, columns the predicted one.
    """

    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def correct(self) -> int:
        """Images classified correctly."""
        return sum(row[i] for i, row in enumerate(self.confusion))

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(map(sum, self.confusion))

    @property
    def accuracy(self) -> float:
        """Share of images classified correctly, in [0, 1]."""
        return self.correct / self.images

    @property
    def recall(self) -> dict[str, tuple[int, int]]:
        """Images classified correctly, and all of them, by class; of the classes that have any."""
        counts = {
            name: (row[i], sum(row)) for i, (name, row) in enumerate(zip(self.classes, self.confusion, strict=True))
        }
        return {name: (right, total) for name, (right, total) in counts.items() if total}

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the classes of their accuracy, in [0, 1]."""
        return sum(right / total for right, total in self.recall.values()) / len(self.recall)

    def to_dict(self) -> dict[str, Any]:
        """The figures, for JSON."""
        return {
            "images": self.images,
            "accuracy": self.accuracy,
            "accuracy_95": list(wilson(self.correct, self.images)),
            "balanced_accuracy": self.balanced_accuracy,
        }


@dataclass(frozen=True)
class Record:
    """Weights and what is known of them.

    Attributes:
        weights: The weights file.
        info: What the file says beside its network: epoch, validation accuracy, ...
        run: The settings and circumstances of the run; empty where they are unknown.
        scores: Results by split, of these very weights.
    """

    weights: Path
    info: dict[str, Any]
    run: dict[str, Any]
    scores: dict[str, Score]

    @property
    def data(self) -> str | None:
        """Name of the training data, without the folders that it lay in; None if unknown."""
        return Path(self.run["config"]["data"]).stem if self.run else None

    @property
    def settings(self) -> dict[str, Any]:
        """How the weights were trained; empty if unknown."""
        config = self.run.get("config", {})
        told = {name: config[name] for name in SETTINGS if name in config}
        if teachers := config.get("teachers"):
            return {**told, "teachers": len(teachers)}
        return {name: value for name, value in told.items() if name != "teacher_share"}


def read_record(source: str | Path) -> Record:
    """What the files of a run say of its best weights; of a weights file alone, what that says.

    Raises:
        InputError: If there are no weights, or a file of the run is damaged.
    """
    weights = weights_file(source)
    info, run, scores = read_config(weights)["info"], {}, {}
    if Path(source).is_dir():  # other weights may lie in it too: what the run writes is about the best ones
        folder = Path(source)
        run = _read(folder / "config.json", "config")
        for split in SPLITS:
            found = _read(folder / f"{split}.json", "confusion", "classes")
            if found:
                scores[split] = Score(tuple(found["classes"]), tuple(map(tuple, found["confusion"])))
    return Record(weights, info, run, scores)


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Wilson, JASA 1927), in [0, 1].

    Args:
        right: How many of them.
        total: Of how many.

    Example:
        >>> from qcs.publish.record import wilson
        >>> [round(x, 3) for x in wilson(90, 100)]
        [0.826, 0.945]
    """
    share, weight = right / total, Z95**2 / total
    middle = (share + weight / 2) / (1 + weight)
    half = Z95 * math.sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def _read(path: Path, *expected: str) -> dict[str, Any]:
    """A JSON file of a run; empty if the run was stopped before writing it."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if missing := _missing(content, expected):
        raise InputError(f"{path} is not what a run writes: it has no {', '.join(missing)}")
    return dict(content)


def _missing(content: Any, expected: Sequence[str]) -> list[str]:
    return [name for name in expected if not isinstance(content, dict) or name not in content]
