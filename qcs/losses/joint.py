"""Joint loss of all classifiers of all branches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qcs.branches import BRANCHES, BranchLogits
from qcs.errors import InputError
from qcs.losses.distillation import kl_distillation, l2_distillation
from qcs.typed_call import same_signature

TERMS = ("kl", "l2")


class JointLoss(nn.Module):
    """Average the cross entropy over all classifiers; optionally distill from cross to base logits (paper Eq. 10).

    Args:
        distillation: Weight of each term, "kl" or "l2", such as `{"kl": 1.0}`; None for the joint cross entropy alone,
            as published. Each term is averaged over branches.
        temperature: Temperature of "kl".
        detach_teacher: Whether these terms leave the cross classifier without gradient.
        label_smoothing: Label smoothing factor, in [0, 1).
        class_weights: Weight of each class (K,) in the cross entropy, which is then a weighted mean; None for equal
            weights.

    Raises:
        InputError: If an option is out of range, or `forward` gets labels that do not match the logits.

    Example:
        >>> import torch
        >>> from qcs.losses import JointLoss
        >>> from qcs.models import BranchLogits
        >>> out = BranchLogits(base=torch.zeros(4, 2, 7), cross=torch.zeros(4, 2, 7))
        >>> labels = torch.tensor([[1, 5], [1, 5], [3, 0], [3, 0]])
        >>> losses = JointLoss(distillation={"kl": 0.5})(out, labels)
        >>> f"{losses['loss']:.4f} {losses['base']:.4f} {losses['cross/negative2']:.4f} {losses['kl']:.4f}"
        '1.9459 1.9459 1.9459 0.0000'
    """

    class_weights: Tensor | None

    def __init__(
        self,
        distillation: Mapping[str, float] | None = None,
        *,
        temperature: float = 4.0,
        detach_teacher: bool = True,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.distillation = dict(distillation or {})
        for term, weight in self.distillation.items():
            if term not in TERMS or weight < 0:
                raise InputError(f"distillation takes weights of at least 0 for {TERMS}, got {term!r}: {weight}")
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        if not temperature > 0:
            raise InputError(f"temperature must be above 0, got {temperature}")
        self.temperature = temperature
        self.detach_teacher = detach_teacher
        if class_weights is not None and (class_weights.ndim != 1 or bool((class_weights < 0).any())):
            raise InputError("class_weights must have one weight of at least 0 per class, shape (classes,)")
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, out: BranchLogits, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss and its components by name.

        Args:
            out: Logits (branches, B, K) of the base and the cross classifier; `cross` may be None.
            labels: Class indices (branches, B), or class probabilities (branches, B, K).

        Returns:
            Scalars: `loss` (to minimize), `base` and `cross` (cross entropy averaged over branches), `base/anchor`,
            `cross/positive`, ... (per classifier), `distillation` (weighted sum) and the requested terms `kl`, `l2`.

        Raises:
            InputError: If the labels do not match the logits, or distillation has no cross logits.
        """
        self._check(out, labels)
        losses: dict[str, Tensor] = {}
        classifiers = {"base": out.base} if out.cross is None else {"base": out.base, "cross": out.cross}
        for name, logits in classifiers.items():
            terms = [
                F.cross_entropy(x, y, weight=self.class_weights, label_smoothing=self.label_smoothing)
                for x, y in zip(logits, labels, strict=True)
            ]
            losses[name] = torch.stack(terms).mean()
            losses |= {f"{name}/{branch}": term for branch, term in zip(BRANCHES[len(terms)], terms, strict=True)}
        losses["distillation"] = out.base.new_zeros(())
        for term, weight in self.distillation.items():
            losses[term] = self._distill(term, out)
            losses["distillation"] = losses["distillation"] + weight * losses[term]
        entropy = torch.stack([losses[name] for name in classifiers]).mean()
        return {"loss": entropy + losses["distillation"], **losses}

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...

    def _distill(self, term: str, out: BranchLogits) -> Tensor:
        if out.cross is None:
            raise InputError("distillation needs cross logits; a base network has none: leave distillation=None")
        teachers = out.cross.detach() if self.detach_teacher else out.cross
        if term == "kl":
            terms = [kl_distillation(s, t, self.temperature) for s, t in zip(out.base, teachers, strict=True)]
        else:
            terms = [l2_distillation(s, t) for s, t in zip(out.base, teachers, strict=True)]
        return torch.stack(terms).mean()

    @staticmethod
    def _check(out: BranchLogits, labels: Tensor) -> None:
        if out.base.ndim != 3 or len(out.base) not in BRANCHES:
            shape = tuple(out.base.shape)
            raise InputError(f"expected logits (branches, B, classes) of 1, 2 or 4 branches, got {shape}")
        branches, batch, classes = out.base.shape
        if out.cross is not None and out.cross.shape != out.base.shape:
            raise InputError(f"base and cross logits differ: {tuple(out.base.shape)} and {tuple(out.cross.shape)}")
        if not labels.is_floating_point() and labels.dtype != torch.long:
            raise InputError(f"expected labels as int64 indices or floating-point probabilities, got {labels.dtype}")
        expected = (branches, batch, classes) if labels.is_floating_point() else (branches, batch)
        if tuple(labels.shape) != expected:
            raise InputError(f"expected labels of shape {expected}, got {tuple(labels.shape)}")
        # On other devices the range check would synchronize at every step; a compiled graph cannot depend on values.
        if labels.dtype == torch.long and labels.device.type == "cpu" and not torch.compiler.is_compiling():
            lowest, highest = int(labels.min()), int(labels.max())
            if lowest < 0 or highest >= classes:
                raise InputError(f"labels must be in 0..{classes - 1}, got {lowest if lowest < 0 else highest}")
