"""Evaluate a classifier: accuracy, balanced accuracy, accuracy per class, confusion matrix, confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qcs.errors import DivergedError, InputError
from qcs.imports import require

WEIGHTS_TOO_LARGE = "its weights hold values that are not finite or too large; load other weights"
Z95 = 1.959964  # 95 % of a normal distribution lie within this many standard deviations of its mean


@dataclass(frozen=True)
class Evaluation:
    """Result of a classifier on one set of labeled images.

    Attributes:
        confusion: Counts (K, K); rows are true classes, columns are predicted classes.
        loss: Mean cross entropy in nats.
        classes: Class names in index order.

    Example:
        >>> import numpy as np
        >>> from qcs.engine import Evaluation
        >>> Evaluation(np.array([[8, 2], [1, 9]]), 0.4, ("happy", "sad")).accuracy
        0.85
    """

    confusion: npt.NDArray[np.int64]
    loss: float
    classes: tuple[str, ...]

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """Number of images classified correctly."""
        return int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        """Fraction of images classified correctly, in [0, 1]."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def per_class_counts(self) -> dict[str, tuple[int, int]]:
        """Images classified correctly and all images, by class; classes without images are left out."""
        counts = zip(self.classes, self.confusion.diagonal().tolist(), self.confusion.sum(1).tolist(), strict=True)
        return {name: (correct, images) for name, correct, images in counts if images}

    @property
    def per_class(self) -> dict[str, float]:
        """Accuracy (recall) of every class that has images, in [0, 1]."""
        return {name: correct / images for name, (correct, images) in self.per_class_counts.items()}

    @property
    def balanced_accuracy(self) -> float:
        """Mean accuracy over the classes that have images, in [0, 1]."""
        return float(np.mean(list(self.per_class.values())))

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain values for JSON."""
        return {
            "images": self.images,
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "loss": self.loss,
            "per_class_accuracy": self.per_class,
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Evaluation:
        """Rebuild an evaluation from the output of `to_dict`; other keys are ignored.

        Raises:
            InputError: If loss, classes or a square matrix of counts are missing.
        """
        try:
            counts = np.array(record["confusion"])
            found = cls(counts, float(record["loss"]), tuple(map(str, record["classes"])))
            square = counts.shape == (len(found.classes),) * 2
            if square and counts.dtype.kind == "i" and counts.min() >= 0 and counts.any():
                return found
        except (KeyError, TypeError, ValueError):
            pass
        raise InputError("expected loss, classes and a confusion matrix of image counts")


def wilson(correct: int, images: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of an accuracy (Wilson, JASA 1927), in [0, 1].

    Args:
        correct: Number of images classified correctly.
        images: Number of all images.

    Example:
        >>> from qcs.engine.evaluation import wilson
        >>> [round(x, 3) for x in wilson(90, 100)]
        [0.826, 0.945]
    """
    accuracy, weight = correct / images, Z95**2 / images
    center = (accuracy + weight / 2) / (1 + weight)
    half = Z95 * math.sqrt(accuracy * (1 - accuracy) / images + weight / (4 * images)) / (1 + weight)
    return max(0.0, center - half), min(1.0, center + half)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    classes: tuple[str, ...],
    device: torch.device | str = "cpu",
    collected: list[Tensor] | None = None,
) -> Evaluation:
    """Evaluate the base classifier; under several processes, sum over the batches of all of them.

    Args:
        model: Network whose classes are `classes`.
        batches: Images (B, C, H, W) with labels (B,); every process passes its own part.
        classes: Class names in index order.
        device: Device of the network.
        collected: List that the logits (B, K) of each of this process's batches are appended to, if given.

    Returns:
        The evaluation of all batches.

    Raises:
        DivergedError: If logits or the loss are not finite.
        MissingExtraError: If torchmetrics is not installed.
    """
    require("torchmetrics", extra="train", purpose="evaluation")
    from torchmetrics import MeanMetric
    from torchmetrics.classification import MulticlassConfusionMatrix

    was_training = model.training
    model.eval()
    confusion = MulticlassConfusionMatrix(num_classes=len(classes)).to(device)
    loss = MeanMetric().to(device)
    for images, labels in batches:
        labels = labels.to(device)
        logits = model(images.to(device)).float()
        if collected is not None:
            collected.append(logits)
        confusion.update(logits, labels)
        # The metric leaves out NaN; an infinite value stays, also in the sum over all processes.
        value = F.cross_entropy(logits, labels).where(logits.isfinite().all(), math.inf)
        loss.update(value, weight=len(labels))
    model.train(was_training)
    if not math.isfinite(mean := float(loss.compute())):
        raise DivergedError(f"the network gives logits or a loss that are not finite: {WEIGHTS_TOO_LARGE}")
    return Evaluation(confusion.compute().cpu().numpy(), mean, classes)
