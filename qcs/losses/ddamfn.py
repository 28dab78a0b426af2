"""Objective of DDAMFN: cross entropy, and a term that keeps the attention maps of its heads apart.

Source: Zhang et al., A Dual-Direction Attention Mixed Feature Network (Electronics 12(17), 2023).
"""

from __future__ import annotations

import sys
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qcs.typed_call import same_signature

EPS = sys.float_info.epsilon


class DDAMFNOutput(NamedTuple):
    """Outputs of DDAMFN in training.

    Attributes:
        logits: Logits (B, K).
        attention: Attention maps of the heads (B, heads, C, H, W).
    """

    logits: Tensor
    attention: Tensor


class DDAMFNLoss(nn.Module):
    """Adds to the cross entropy the inverse mean distance between the heads' attention maps.

    Args:
        attention_weight: Weight of the attention term.

    Example:
        >>> import torch
        >>> from qcs.losses import DDAMFNLoss, DDAMFNOutput
        >>> out = DDAMFNOutput(torch.zeros(2, 7), torch.randn(2, 2, 16, 3, 3))
        >>> sorted(DDAMFNLoss()(out, torch.tensor([1, 5])))
        ['attention', 'ce', 'loss']
    """

    def __init__(self, attention_weight: float = 0.1) -> None:
        super().__init__()
        self.attention_weight = attention_weight

    def forward(self, out: DDAMFNOutput, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss and its terms by name.

        Args:
            out: Logits (B, K) and attention maps (B, heads, C, H, W).
            labels: Class indices (B,).

        Returns:
            Scalars: `loss` (to minimize), `ce`, and `attention`, the number of pairs of heads over the sum of the mean
            squared differences of their maps; 0 for a single head.
        """
        ce = F.cross_entropy(out.logits, labels)
        pairs = [(x - y).square().mean() for x, y in combinations(out.attention.unbind(1), 2)]
        attention = len(pairs) / (torch.stack(pairs).sum() + EPS) if pairs else ce.new_zeros(())
        return {"loss": ce + self.attention_weight * attention, "ce": ce, "attention": attention}

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...

    def prediction(self, out: DDAMFNOutput) -> Tensor:
        """Return the logits (B, K) of the prediction."""
        return out.logits
