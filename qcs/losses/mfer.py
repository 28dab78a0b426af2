"""Objective of MFER as far as it was published: cross entropy with smoothed labels of three classifiers.

Source: Xu et al., Multi-scale Facial Expression Recognition based on dynamic global and static local attention (IEEE
Transactions on Affective Computing, 2024). The paper's feature loss was never published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qcs.errors import InputError
from qcs.typed_call import same_signature


class MFERLoss(nn.Module):
    """Sums the cross entropy with smoothed labels over several classifiers.

    Args:
        label_smoothing: Label smoothing factor, in [0, 1).

    Raises:
        InputError: If the factor is out of range.

    Example:
        >>> import torch
        >>> from qcs.losses import MFERLoss
        >>> list(MFERLoss()(torch.zeros(2, 3, 7), torch.tensor([1, 5])))
        ['loss', 'lsce_1', 'lsce_2', 'lsce_3']
    """

    def __init__(self, label_smoothing: float = 0.1) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss and its terms by name.

        Args:
            logits: Logits (B, heads, K) of the classifiers.
            labels: Class indices (B,).

        Returns:
            Scalars: `loss` (to minimize), and `lsce_1`, `lsce_2`, ... per classifier.
        """
        terms = [F.cross_entropy(x, labels, label_smoothing=self.label_smoothing) for x in logits.unbind(1)]
        named = {f"lsce_{number}": term for number, term in enumerate(terms, start=1)}
        return {"loss": torch.stack(terms).sum(), **named}

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...

    def prediction(self, out: Tensor) -> Tensor:
        """Return the logits (B, K) of the prediction."""
        return out.sum(1)
