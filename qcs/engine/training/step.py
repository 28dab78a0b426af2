"""Take an optimizer step: gradient accumulation, SAM, gradient clipping, moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from qcs.engine.training.objective import TrainingOutputs, losses_and_accuracies, share_gradients
from qcs.engine.training.sam import SAM
from qcs.errors import DivergedError

Batch = tuple[list[Tensor], Tensor]
"""Images (B, C, H, W) of every branch, and labels (branches, B) or targets (branches, B, classes)."""


class TrainingStep:
    """Update the weights with the mean gradient over one or more batches.

    With SAM, each of its two passes runs over all batches: the first at the weights w, the second at w + rho·g/‖g‖.
    Batch norm and cross similarity see one batch at a time.

    Args:
        network: The network, or its `TrainingOutputs`; wrapped for its processes, compiled or not.
        optimizer: SAM around an optimizer of the parameters of the network and of the loss.
        loss: The objective, see `qcs.engine.training.objective`.
        accelerator: Device and processes.
        bf16: Whether to use autocast to bfloat16.
        clip_grad: Maximum gradient norm (gradient clipping); None turns clipping off.
        ema: Exponential moving average of the weights to update, if any.

    Attributes:
        taken: Number of steps taken.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: SAM,
        loss: nn.Module,
        accelerator: Accelerator,
        *,
        bf16: bool = False,
        clip_grad: float | None = None,
        ema: ModelEmaV3 | None = None,
    ) -> None:
        self.network, self.optimizer, self.loss, self.accelerator = network, optimizer, loss, accelerator
        self.bf16, self.clip_grad, self.ema = bf16, clip_grad, ema
        self.taken = 0

    def __call__(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Take a step; return losses and accuracies at the weights before it, means over the batches.

        Raises:
            DivergedError: If the loss is infinite or NaN; the weights are then those before the step.
        """
        values = self._gradients(batches)
        if self.optimizer.rho:
            self.optimizer.climb()
            self._gradients(batches)
        if self.clip_grad is not None:
            nn.utils.clip_grad_norm_((*self.network.parameters(), *self.loss.parameters()), self.clip_grad)
        self.optimizer.step()
        self.taken += 1
        if self.ema is not None:
            network = self.accelerator.unwrap_model(self.network, keep_torch_compile=False)
            self.ema.update(network.network if isinstance(network, TrainingOutputs) else network, step=self.taken)
        return values

    def _gradients(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        self.optimizer.zero_grad()
        totals: dict[str, Tensor] = {}
        for number, batch in enumerate(batches, start=1):
            with self._no_sync() if number < len(batches) else nullcontext():
                for name, value in self._backward(*batch, share=1 / len(batches)).items():
                    totals[name] = totals.get(name, torch.zeros_like(value)) + value.detach() / len(batches)
        share_gradients(self.loss, self.accelerator)
        return totals

    def _no_sync(self) -> AbstractContextManager[None]:
        """Keep processes from exchanging gradients, which they do with the last batch alone."""
        context: AbstractContextManager[None] = self.accelerator.no_sync(self.network)
        return context

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context of the network's calls in training."""
        context: AbstractContextManager[None] = torch.autocast(
            self.accelerator.device.type, torch.bfloat16, enabled=self.bf16
        )
        return context

    def _backward(self, images: list[Tensor], labels: Tensor, share: float) -> dict[str, Tensor]:
        with self.autocast():
            out = self.network(*images)
        values = losses_and_accuracies(self.loss, out, labels)
        self._check_finite(float(values["loss"].detach()))
        self.accelerator.backward(values["loss"] * share)
        return values

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            self.optimizer.back()
            rate = max(group["lr"] for group in self.optimizer.optimizer.param_groups)
            raise DivergedError(
                f"the loss became {loss} in step {self.taken + 1}; try a smaller learning rate than {rate:g}, "
                "or clip the gradient"
            )
