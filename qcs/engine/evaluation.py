"""How well a network classifies: accuracy, balanced accuracy, per class, confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix


@dataclass(frozen=True)
class Evaluation:
    """Result on one set of labelled images.

    Attributes:
        confusion: Counts (K, K), rows the true class, columns the predicted one.
        loss: Mean cross entropy in nats.
        classes: Class names in index order.
    """

    confusion: npt.NDArray[np.int64]
    loss: float
    classes: tuple[str, ...]

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of images classified correctly, in [0, 1]."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def per_class(self) -> dict[str, float]:
        """Accuracy (recall) of every class that has images, in [0, 1]."""
        counts = self.confusion.sum(1)
        return {name: float(self.confusion[i, i] / counts[i]) for i, name in enumerate(self.classes) if counts[i] > 0}

    @property
    def balanced_accuracy(self) -> float:
        """Mean accuracy over the classes that have images, in [0, 1]."""
        return float(np.mean(list(self.per_class.values())))

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "images": self.images,
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "loss": self.loss,
            "per_class_accuracy": self.per_class,
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
        }


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    classes: tuple[str, ...],
    device: torch.device | str = "cpu",
    collected: list[Tensor] | None = None,
) -> Evaluation:
    """Evaluate the base classifier; under several processes, each with its share of the batches, over all of them.

    Args:
        model: Network whose classes are `classes`.
        batches: Images (B, C, H, W) with labels (B,).
        classes: Class names in index order.
        device: Where the network is.
        collected: Takes this process's logits (B, K) of each batch, where they are wanted.

    Returns:
        The evaluation of all batches.
    """
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
        loss.update(F.cross_entropy(logits, labels), weight=len(labels))
    model.train(was_training)
    return Evaluation(confusion.compute().cpu().numpy(), float(loss.compute()), classes)
