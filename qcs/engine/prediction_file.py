"""Predicted probabilities of every image of a dataset, stored beside its evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from qcs.data.dataset import LabeledImages
from qcs.errors import InputError
from qcs.files import replacing, writing

FILE = "test_predictions.npz"


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of the images of a dataset.

    Attributes:
        probabilities: float32 in [0, 1], (n, K), each row summing to 1.
        labels: Index of the true class, (n,).
        names: Name of each image in its dataset, (n,).
        classes: The K class names in index order.
        subjects: Person on each image, (n,); None if unknown.

    Example:
        >>> shown = Predictions(np.float32([[0.8, 0.2], [0.3, 0.7]]), np.array([0, 0]), ["a", "b"], ("happy", "sad"))
        >>> shown.predicted.tolist(), shown.correct.tolist()
        ([0, 1], [True, False])
    """

    probabilities: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    names: npt.NDArray[np.str_]
    classes: tuple[str, ...]
    subjects: npt.NDArray[np.str_] | None = None

    @classmethod
    def of(cls, images: LabeledImages, logits: Tensor) -> Predictions:
        """Return the predictions given by the logits (n, K) of these images."""
        probabilities = logits.float().softmax(-1).cpu().numpy()
        return cls(probabilities, images.labels, images.names, images.classes, images.subjects)

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Index of the most probable class, (n,)."""
        return self.probabilities.argmax(1)

    @property
    def confidence(self) -> npt.NDArray[np.float32]:
        """Probability of the most probable class, (n,)."""
        highest: npt.NDArray[np.float32] = self.probabilities.max(1)
        return highest

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the most probable class is the true one, (n,)."""
        return self.predicted == self.labels

    def save(self, path: Path) -> Path:
        """Write an .npz archive; it appears complete or not at all.

        Raises:
            OSError: If it cannot be written.
        """
        columns: dict[str, Any] = {
            "probabilities": self.probabilities,
            "labels": self.labels,
            "names": self.names,
            "classes": np.array(self.classes),
        }
        if self.subjects is not None:
            columns["subjects"] = self.subjects
        with writing(path), replacing(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, **columns)
        return path

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read a file written by `save`.

        Raises:
            InputError: If the file is corrupt.
            FileNotFoundError: If it does not exist.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                columns = {name: file[name] for name in file.files}
            classes = tuple(map(str, columns.pop("classes")))
            found = cls(**columns, classes=classes)
            found._check()
        except FileNotFoundError:
            raise
        except Exception as error:  # a corrupt archive raises any exception
            raise InputError(f"{path} is corrupt: {' '.join(str(error).split()) or type(error).__name__}") from error
        return found

    def _check(self) -> None:
        count, classes = len(self.labels), len(self.classes)
        if not count or self.probabilities.shape != (count, classes) or self.names.shape != (count,):
            raise ValueError(f"{self.probabilities.shape} probabilities, {count} labels, {classes} classes")
        if self.subjects is not None and self.subjects.shape != (count,):
            raise ValueError(f"{self.subjects.shape} subjects of {count} images")
        if not np.isfinite(self.probabilities).all() or not (0 <= self.labels.min() <= self.labels.max() < classes):
            raise ValueError("a probability or a label out of range")
