"""Objective of LNSU-Net: class heat maps that follow a flip of the image, and labels smoothed by class weights.

Source: Zhang et al., Leave No Stone Unturned: Mine Extra Knowledge for Imbalanced Facial Expression Recognition
(NeurIPS 2023).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qcs.errors import InputError
from qcs.typed_call import same_signature

RAF_DB_WEIGHTS = (0.95124031, 4.36690391, 1.71143654, 0.25714585, 0.6191221, 1.74056738, 0.48617274)
"""The published class weights, for the classes of RAF-DB in the order of its list."""


class LNSUOutput(NamedTuple):
    """Outputs of LNSU-Net in training.

    Attributes:
        logits: Logits (B, K) of the images.
        heat_maps: Class heat maps (B, K, H, W) of the images.
        flipped: Class heat maps (B, K, H, W) of the images flipped left to right, not flipped back.
    """

    logits: Tensor
    heat_maps: Tensor
    flipped: Tensor


class LNSULoss(nn.Module):
    """Adds to a cross entropy with re-balanced smooth labels the re-balanced consistency of heat maps.

    Args:
        class_weights: Weight of each class, larger for rarer ones, see `balanced_weights`.
        label_smoothing: Label smoothing factor, in [0, 1); it is spread over the other classes by their weights.
        attention_weight: Weight of the consistency.

    Raises:
        InputError: If an option is out of range.

    Example:
        >>> import torch
        >>> from qcs.losses import LNSULoss, LNSUOutput
        >>> out = LNSUOutput(torch.zeros(2, 3), torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4))
        >>> sorted(LNSULoss([1.0, 2.0, 1.0])(out, torch.tensor([1, 2])))
        ['attention', 'loss', 'smooth']
    """

    class_weights: Tensor

    def __init__(
        self,
        class_weights: Tensor | tuple[float, ...] | list[float],
        label_smoothing: float = 0.3,
        attention_weight: float = 0.1,
    ) -> None:
        super().__init__()
        weights = torch.as_tensor(class_weights, dtype=torch.get_default_dtype())
        if weights.ndim != 1 or len(weights) < 2 or bool((weights <= 0).any()):
            raise InputError("class_weights must have one weight above 0 per class, at least two")
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        self.label_smoothing, self.attention_weight = label_smoothing, attention_weight
        self.register_buffer("class_weights", weights)

    def forward(self, out: LNSUOutput, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss and its terms by name.

        Args:
            out: Logits (B, K) and heat maps (B, K, H, W) of the images and of the flipped ones.
            labels: Class indices (B,).

        Returns:
            Scalars: `loss` (to minimize), `smooth` and `attention`.
        """
        smooth = F.cross_entropy(out.logits, self.smooth_labels(labels))
        differences = (out.heat_maps - out.flipped.flip(-1)).square().mean((2, 3))
        attention = (differences * self.class_weights).sum(1).mean()
        return {"loss": smooth + self.attention_weight * attention, "smooth": smooth, "attention": attention}

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...

    def prediction(self, out: LNSUOutput) -> Tensor:
        """Return the logits (B, K) of the prediction."""
        return out.logits

    def smooth_labels(self, labels: Tensor) -> Tensor:
        """Return class probabilities (B, K): the rest of a label goes to the other classes, by their weights."""
        own = F.one_hot(labels, len(self.class_weights)).to(self.class_weights)
        others = (1 - own) * self.class_weights
        rest = others / others.sum(1, keepdim=True)
        return (1 - self.label_smoothing) * own + self.label_smoothing * rest


def balanced_weights(counts: Tensor) -> Tensor:
    """Return the class weights N / (10 n_c) of class counts n_c (K,) with the sum N, as published.

    Raises:
        InputError: If a class has no image.

    Example:
        >>> import torch
        >>> from qcs.losses.lnsu import balanced_weights
        >>> balanced_weights(torch.tensor([30, 10]))
        tensor([0.1333, 0.4000])
    """
    if counts.ndim != 1 or bool((counts < 1).any()):
        raise InputError(f"class weights need at least one image of every class, got counts {counts.tolist()}")
    return counts.sum() / (10 * counts)
