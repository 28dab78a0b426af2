"""Objective of GSDNet: cross entropy of the deepest classifier, from which each shallower one learns in turn.

Source: A gradual self distillation network with adaptive channel attention for facial expression
recognition (Applied Soft Computing, 2024).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qcs.typed_call import same_signature

TEMPERATURE = 3.0


class GSDNetOutput(NamedTuple):
    """Outputs of GSDNet in training, from the shallowest head to the deepest.

    Attributes:
        logits: Logits (B, heads, K); the last ones are the prediction.
        features: Features (B, heads, C) that are distilled.
    """

    logits: Tensor
    features: Tensor


class GSDNetLoss(nn.Module):
    """Adds to the deepest head's cross entropy the distillation from each head to the one before it.

    Args:
        distance_weight: Weight of the Euclidean distance between the features of the whole batch, which grows with the
            square root of its size.
        distillation_weight: Weight of the cross entropy between softened predictions, without the usual factor T².
        detach_teacher: Whether the deeper head of a pair gets no gradient from it.

    Example:
        >>> import torch
        >>> from qcs.losses import GSDNetLoss, GSDNetOutput
        >>> losses = GSDNetLoss()(GSDNetOutput(torch.zeros(2, 2, 7), torch.randn(2, 2, 16)), torch.tensor([1, 5]))
        >>> list(losses)
        ['loss', 'ce', 'distance_1_2', 'kd_1_2']
    """

    def __init__(
        self, distance_weight: float = 0.01, distillation_weight: float = 0.3, detach_teacher: bool = True
    ) -> None:
        super().__init__()
        self.distance_weight, self.distillation_weight = distance_weight, distillation_weight
        self.detach_teacher = detach_teacher

    def forward(self, out: GSDNetOutput, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss and its terms by name.

        Args:
            out: Logits (B, heads, K) and features (B, heads, C).
            labels: Class indices (B,).

        Returns:
            Scalars: `loss` (to minimize), `ce`, and for each student s and teacher t, counted from 1 at the shallowest
            head, `distance_s_t` and `kd_s_t`.
        """
        losses = {"ce": F.cross_entropy(out.logits[:, -1], labels)}
        total = losses["ce"]
        for student in reversed(range(out.logits.shape[1] - 1)):
            pair = f"{student + 1}_{student + 2}"
            distance = torch.linalg.vector_norm(out.features[:, student] - self._teacher(out.features[:, student + 1]))
            kd = self._distill(out.logits[:, student], self._teacher(out.logits[:, student + 1]))
            losses |= {f"distance_{pair}": distance, f"kd_{pair}": kd}
            total = total + self.distance_weight * distance + self.distillation_weight * kd
        return {"loss": total, **losses}

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...

    def prediction(self, out: GSDNetOutput) -> Tensor:
        """Return the logits (B, K) of the prediction."""
        return out.logits[:, -1]

    def _teacher(self, x: Tensor) -> Tensor:
        return x.detach() if self.detach_teacher else x

    def _distill(self, student: Tensor, teacher: Tensor) -> Tensor:
        return F.cross_entropy(student / TEMPERATURE, (teacher / TEMPERATURE).softmax(1))
