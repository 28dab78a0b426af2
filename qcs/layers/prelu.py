"""PReLU whose gradient is computed by vectorised operators."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PReLU(nn.PReLU):
    """`nn.PReLU` of feature maps: the same function and the same parameters, trained faster on a CPU.

    PyTorch's gradient takes one element at a time there; this one takes it from a few operators that work on many.

    Example:
        >>> import torch
        >>> from qcs.layers import PReLU
        >>> PReLU(2)(torch.tensor([[[[1.0]], [[-1.0]]]])).flatten().tolist()
        [1.0, -0.25]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (B, C, H, W) to those with negative values times the channel's slope."""
        by_hand = x.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling()
        out: Tensor = _PReLU.apply(x, self.weight) if by_hand else F.prelu(x, self.weight)
        return out


class _PReLU(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, slope: Tensor) -> Tensor:
        return F.prelu(x, slope)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = upstream
        x, slope = ctx.saved_tensors
        positive = torch.ops.aten.threshold_backward(gradient, x, 0)  # where x > 0
        negative = gradient - positive
        by_x = torch.addcmul(positive, negative, slope.to(x.dtype).view(-1, 1, 1))
        by_slope = (negative * x).sum((0, 2, 3), dtype=torch.promote_types(x.dtype, torch.float32))
        return by_x, by_slope.to(slope.dtype)
