"""What a network predicted of each image of a set, kept beside its evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate.utils import gather_object
from torch import Tensor

from qcs.data.dataset import LabeledImages
from qcs.errors import InputError
from qcs.files import replacing, writing

FILE = "test_predictions.npz"


@dataclass(frozen=True)
class Predictions:
    """Probabilities of every class for the images of a set.

    Attributes:
        probabilities: float32 in [0, 1], (n, K), each row summing to 1.
        labels: Index of the true class, (n,).
        names: What each image is called in its data, (n,).
        classes: The K class names in index order.
        subjects: Who is on each image, (n,); None where it is not known.

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
        """Those behind the logits (n, K) of these images."""
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
        """Write them as an .npz archive, whole or not at all.

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
        """Read what `save` wrote.

        Raises:
            InputError: If the file is damaged.
            FileNotFoundError: If there is none.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                columns = {name: file[name] for name in file.files}
            classes = tuple(map(str, columns.pop("classes")))
            found = cls(**columns, classes=classes)
            found._check()
        except FileNotFoundError:
            raise
        except Exception as error:  # a damaged archive raises anything
            raise InputError(f"{path} is damaged: {' '.join(str(error).split()) or type(error).__name__}") from error
        return found

    def _check(self) -> None:
        count, classes = len(self.labels), len(self.classes)
        if not count or self.probabilities.shape != (count, classes) or self.names.shape != (count,):
            raise ValueError(f"{self.probabilities.shape} probabilities, {count} labels, {classes} classes")
        if self.subjects is not None and self.subjects.shape != (count,):
            raise ValueError(f"{self.subjects.shape} subjects of {count} images")
        if not np.isfinite(self.probabilities).all() or not (0 <= self.labels.min() <= self.labels.max() < classes):
            raise ValueError("a probability or a label out of range")


def in_order(logits: list[Tensor]) -> Tensor:
    """The logits of all images from the batches of each process, which has every n-th image."""
    parts: list[list[Tensor]] = gather_object([[batch.cpu() for batch in logits]])
    batches = [batch for part in parts for batch in part]
    whole = torch.empty(sum(map(len, batches)), batches[0].shape[1])
    for rank, part in enumerate(parts):
        if part:  # there may be fewer images than processes
            whole[rank :: len(parts)] = torch.cat(part)
    return whole
