"""Cross entropy with smoothed labels, by itself and as published for POSTER."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from qcs.errors import InputError
from qcs.typed_call import same_signature


class ClassifierLoss(nn.Module):
    """Computes the cross entropy of one classifier, and one with smoothed labels.

    A smoothed label is spread over all classes, the true one included, as in `torch.nn.functional.cross_entropy`.

    Args:
        weight: Weight of the cross entropy.
        smoothed_weight: Weight of the cross entropy with smoothed labels.
        label_smoothing: Label smoothing factor, in [0, 1).

    Raises:
        InputError: If an option is out of range.

    Example:
        >>> import torch
        >>> from qcs.losses import ClassifierLoss
        >>> losses = ClassifierLoss(smoothed_weight=2.0, label_smoothing=0.2)(torch.zeros(2, 7), torch.tensor([1, 5]))
        >>> {name: round(float(value), 3) for name, value in losses.items()}
        {'loss': 5.838, 'ce': 1.946, 'lsce': 1.946}
    """

    def __init__(self, weight: float = 1.0, smoothed_weight: float = 0.0, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        if min(weight, smoothed_weight) < 0 or weight + smoothed_weight == 0:
            raise InputError(f"weights must be at least 0 and not both 0, got {weight} and {smoothed_weight}")
        self.weight, self.smoothed_weight, self.label_smoothing = weight, smoothed_weight, label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss and its terms by name.

        Args:
            logits: Logits (B, K).
            labels: Class indices (B,).

        Returns:
            Scalars: `loss` (to minimize), `ce` and, unless its weight is 0, `lsce`.
        """
        ce = F.cross_entropy(logits, labels)
        if not self.smoothed_weight:
            return {"loss": self.weight * ce, "ce": ce}
        lsce = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return {"loss": self.weight * ce + self.smoothed_weight * lsce, "ce": ce, "lsce": lsce}

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...

    def prediction(self, out: Tensor) -> Tensor:
        """Return the logits (B, K) of the prediction."""
        return out
