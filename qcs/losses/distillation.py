"""Knowledge distillation between the logits of two classifiers, optional terms of the joint loss (paper Sec. 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from qcs.errors import InputError


def kl_distillation(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """Return KL(softmax(teacher / T) ‖ softmax(student / T)) · T², averaged over the batch (arXiv 1503.02531).

    Args:
        student: Logits (B, K) of the classifier that learns.
        teacher: Logits (B, K) of the classifier that it learns from.
        temperature: T, above 0; larger values give softer targets.

    Returns:
        A scalar, at least 0.

    Raises:
        InputError: If the shapes differ or the temperature is not above 0.

    Example:
        >>> import torch
        >>> from qcs.losses import kl_distillation
        >>> kl_distillation(torch.zeros(2, 7), torch.zeros(2, 7))
        tensor(0.)
    """
    _check_logits(student, teacher)
    if not temperature > 0:
        raise InputError(f"temperature must be above 0, got {temperature}")
    learned = F.log_softmax(student / temperature, dim=-1)
    target = F.log_softmax(teacher / temperature, dim=-1)
    return F.kl_div(learned, target, reduction="batchmean", log_target=True) * temperature**2


def l2_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the Euclidean distance of the logits of the whole batch over the batch size: √(Σ(s − t)²) / B.

    Args:
        student: Logits (B, K) of the classifier that learns.
        teacher: Logits (B, K) of the classifier that it learns from.

    Returns:
        A scalar, at least 0; its gradient at equal logits is 0.

    Raises:
        InputError: If the shapes differ.

    Example:
        >>> import torch
        >>> from qcs.losses import l2_distillation
        >>> l2_distillation(torch.ones(4, 4), torch.zeros(4, 4))
        tensor(1.)
    """
    _check_logits(student, teacher)
    return torch.linalg.vector_norm(student - teacher) / len(student)


def _check_logits(student: Tensor, teacher: Tensor) -> None:
    if student.ndim != 2 or student.shape != teacher.shape:
        raise InputError(
            f"student and teacher must be logits (B, K) of one shape, got {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}"
        )
