"""Objective of DAN: cross entropy, affinity of features to class centers, and separation of the attention heads.

Source: Wen et al., Distract Your Attention (arXiv 2109.07270).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qcs.typed_call import same_signature

SMALLEST, LARGEST = 1e-12, 1e12  # of a distance; the published code also adds the smallest for every other class
EPS = sys.float_info.epsilon


class DANOutput(NamedTuple):
    """Outputs of DAN in training.

    Attributes:
        logits: Logits (B, K).
        features: The trunk's last feature map (B, C, H, W).
        heads: Features of the attention heads (B, heads, C), after the log-softmax over heads.
    """

    logits: Tensor
    features: Tensor
    heads: Tensor


class DANLoss(nn.Module):
    """Sums cross entropy, affinity loss and partition loss.

    The class centers are parameters: give them to the optimizer with those of the network.

    Args:
        num_classes: Classes K.
        dim: Channels C of the feature map.
        extra_centers: Class centers beyond one per class. The published training on RAF-DB has one: it is never
            compared, but counts in the spread of the centers.

    Example:
        >>> import torch
        >>> from qcs.losses import DANLoss, DANOutput
        >>> out = DANOutput(torch.zeros(2, 7), torch.randn(2, 16, 3, 3), torch.randn(2, 4, 16))
        >>> sorted(DANLoss(7, dim=16)(out, torch.tensor([1, 5])))
        ['affinity', 'ce', 'loss', 'partition']
    """

    def __init__(self, num_classes: int, dim: int = 512, extra_centers: int = 0) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.centers = nn.Parameter(torch.randn(num_classes + extra_centers, dim))

    def forward(self, out: DANOutput, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss and its terms by name.

        Args:
            out: Logits (B, K), feature map (B, C, H, W) and heads (B, heads, C).
            labels: Class indices (B,).

        Returns:
            Scalars: `loss` (to minimize), `ce`, `affinity` and `partition`.
        """
        terms = {
            "ce": F.cross_entropy(out.logits, labels),
            "affinity": self.affinity(out.features, labels),
            "partition": self.partition(out.heads),
        }
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...

    def prediction(self, out: DANOutput) -> Tensor:
        """Return the logits (B, K) of the prediction."""
        return out.logits

    def affinity(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the mean squared distance of pooled features to their class's center, over the spread of centers."""
        distances = (features.mean((2, 3)) - self.centers[labels]).square().sum(1)
        distances = (distances / self.centers.var(0).sum()).clamp(SMALLEST, LARGEST)
        return distances.mean() + (len(self.centers) - 1) * SMALLEST

    def partition(self, heads: Tensor) -> Tensor:
        """Return log(1 + heads / variance across heads); 0 for a single head."""
        count = heads.shape[1]
        if count == 1:
            return heads.new_zeros(())
        return torch.log(1 + count / (heads.var(1).mean() + EPS))
