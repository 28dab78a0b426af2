"""Objective of Ada-DF: label distributions of the classes and of the network, fused by attention, and a rank term.

Source: Liu et al., A Dual-Branch Adaptive Distribution Fusion Framework for Real-World Facial Expression Recognition
(ICASSP 2023).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qcs.errors import InputError
from qcs.typed_call import same_signature

LEAST_SHARE = 0.2  # of a class distribution in the fused target
FALLBACK_REST = 0.4  # of a class that is below the threshold, spread over the other classes
HIGH_FRACTION, MARGIN = 0.7, 0.07  # of the rank term


class AdaDFOutput(NamedTuple):
    """Outputs of Ada-DF in training.

    Attributes:
        logits: Logits (B, K) of the main branch, the prediction.
        auxiliary: Logits (B, K) of the auxiliary branch, which estimates the label distributions.
        attention: Mean attention of both branches (B, 1), in (0, 1).
    """

    logits: Tensor
    auxiliary: Tensor
    attention: Tensor


class AdaDFLoss(nn.Module):
    """Trains the auxiliary branch by cross entropy and the main one by fused label distributions.

    The class distributions (K, K) and the epoch are buffers: a saved state continues where it ended. After each epoch
    call `end_epoch` with what `of_epoch` returns for the whole training set.

    Args:
        num_classes: Classes K.
        threshold: Probability of its own class, in (0, 1), from which the mean prediction of a class becomes its
            distribution.
        beta: Epoch up to which the cross entropy weighs more than the divergence.
        batch_size: Number that divides the divergence and counts the ranked images; None for the batch's own size.
            The published training on SFEW keeps 16 for batches of 160 crops.

    Example:
        >>> import torch
        >>> from qcs.losses import AdaDFLoss, AdaDFOutput
        >>> out = AdaDFOutput(torch.zeros(2, 7), torch.zeros(2, 7), torch.tensor([[0.2], [0.7]]))
        >>> sorted(AdaDFLoss(7)(out, torch.tensor([1, 5])))
        ['ce', 'kld', 'loss', 'rank']
    """

    class_distributions: Tensor
    epoch: Tensor

    def __init__(
        self, num_classes: int, threshold: float = 0.7, beta: float = 3.0, batch_size: int | None = None
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise InputError(f"num_classes must be at least 2, got {num_classes}")
        if not 0 < threshold < 1:
            raise InputError(f"threshold must be above 0 and below 1, got {threshold}")
        self.threshold, self.beta, self.batch_size = threshold, beta, batch_size
        rest = (1 - threshold) / (num_classes - 1)
        self.register_buffer("class_distributions", _peaked(num_classes, threshold, rest))
        self.register_buffer("epoch", torch.tensor(1))

    def forward(self, out: AdaDFOutput, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss and its terms by name.

        Args:
            out: Logits (B, K) of both branches and their attention (B, 1), not the same for all images.
            labels: Class indices (B,).

        Returns:
            Scalars: `loss` (to minimize), `ce`, `kld` and `rank`.

        Raises:
            InputError: If there is one image only.
        """
        if len(labels) < 2:
            raise InputError("Ada-DF ranks the images of a batch: it needs at least 2, got 1")
        ce = F.cross_entropy(out.auxiliary, labels)
        kld = self._divergence(out, labels)
        rank = self._rank(out.attention.flatten())
        weight_ce, weight_kld = (weight.to(ce.dtype) for weight in self._weights(self.epoch))
        return {"loss": weight_ce * ce + weight_kld * kld + rank, "ce": ce, "kld": kld, "rank": rank}

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...

    def prediction(self, out: AdaDFOutput) -> Tensor:
        """Return the logits (B, K) of the prediction."""
        return out.logits

    def of_epoch(self, out: AdaDFOutput) -> Tensor:
        """Return what `end_epoch` needs of a batch: the auxiliary logits (B, K)."""
        return out.auxiliary

    def end_epoch(self, auxiliary: Tensor, labels: Tensor) -> None:
        """Update the class distributions from auxiliary logits (N, K) of the training set, and count the epoch.

        A class without images, or whose mean prediction of itself is below the threshold, gets the threshold at its own
        place and 0.4 over the others: as published, such a row does not sum to 1.
        """
        count = len(self.class_distributions)
        predicted = auxiliary.detach().softmax(1)
        means = torch.stack([predicted[labels == label].mean(0) for label in range(count)])
        fallback = _peaked(count, self.threshold, FALLBACK_REST / (count - 1), like=means)
        certain = means.diagonal() >= self.threshold
        self.class_distributions.copy_(torch.where(certain[:, None], means, fallback))
        self.epoch += 1

    def _weights(self, epoch: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights of cross entropy and divergence at an epoch, counted from 1."""
        epoch = epoch.double()
        growing = torch.exp(-((1 - epoch / self.beta) ** 2))
        falling = torch.exp(-((1 - self.beta / epoch) ** 2))
        early, one = epoch <= self.beta, torch.ones_like(epoch)
        return torch.where(early, one, falling), torch.where(early, growing, one)

    def _divergence(self, out: AdaDFOutput, labels: Tensor) -> Tensor:
        """Return the KL divergence of the main branch from the fused targets, through which gradients flow, too."""
        attention = out.attention
        low, high = attention.min(), attention.max()
        share = (attention - low) / (high - low) * (1 - LEAST_SHARE) + LEAST_SHARE
        target = (1 - share) * out.auxiliary.softmax(1) + share * self.class_distributions[labels]
        divergence = target * (target.log() - out.logits.log_softmax(1))
        return divergence.sum() / (self.batch_size or len(labels))

    def _rank(self, attention: Tensor) -> Tensor:
        """Return by how much the largest attentions fail to exceed the smallest by the margin, on average."""
        count = self.batch_size or len(attention)
        many = int(HIGH_FRACTION * count)
        descending = attention.sort(descending=True).values
        high, low = descending[:many], descending[len(descending) - (count - many) :]
        return F.relu(low.mean() - high.mean() + MARGIN)


def _peaked(count: int, own: float, rest: float, like: Tensor | None = None) -> Tensor:
    """Return rows of `rest` with `own` on the diagonal, of the dtype and device of a tensor."""
    like = torch.empty(0) if like is None else like
    return like.new_full((count, count), rest).fill_diagonal_(own)
