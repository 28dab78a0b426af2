"""Sharpness-aware minimization (SAM) around any optimizer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from qcs.errors import InputError


class SAM:
    """Take steps in two passes: climb to w + rho·g/‖g‖, compute the gradient there, update w with it.

    Source: Foret et al., ICLR 2021, arXiv 2010.01412. One norm over all parameters, in their own precision.

    Args:
        optimizer: The optimizer that updates w with the second gradient.
        rho: Length of the climb, at least 0; with 0 a step needs no climb and no second pass.

    Raises:
        InputError: If rho is negative.

    Example:
        >>> import torch
        >>> from qcs.engine.training import SAM
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> sam = SAM(torch.optim.SGD([w], lr=0.1), rho=0.05)
        >>> w.square().sum().backward(); sam.climb()
        >>> sam.zero_grad(); w.square().sum().backward(); sam.step()
        >>> round(w.item(), 4)
        0.79
    """

    def __init__(self, optimizer: Optimizer, rho: float = 0.05) -> None:
        if rho < 0:
            raise InputError(f"rho must be at least 0, got {rho}")
        self.optimizer = optimizer
        self.rho = rho
        self._start: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def climb(self) -> None:
        """Move the parameters to w + rho·g/‖g‖ and keep w for `step`."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in parameters]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        self._start = [(p, p.clone()) for p in parameters]
        torch._foreach_add_(parameters, torch._foreach_mul(gradients, self.rho / norm.clamp_min(1e-12)))

    def step(self) -> None:
        """Return to w and update it with the current gradients."""
        self.back()
        self.optimizer.step()

    @torch.no_grad()
    def back(self) -> None:
        """Return to w, if `climb` has moved the parameters."""
        for parameter, start in self._start:
            parameter.copy_(start)
        self._start = []

    def zero_grad(self) -> None:
        """Reset the gradients."""
        self.optimizer.zero_grad()
