"""The operators as fused Triton kernels for NVIDIA GPUs; Triton's interpreter runs them on the CPU, slowly.

Import it only where this backend is used, because it imports Triton. Same functions as `qcs.ops.reference`.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from qcs.ops.output import WEIGHTS, Output
from qcs.ops.reference import (
    bilinear_pooling as bilinear_pooling,
)  # one product and element-wise passes: nothing to fuse by hand
from qcs.ops.triton.operators import Distance, Weights

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # as set when the kernels were defined
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def reason(tokens: Tensor, output: Output = WEIGHTS, scope: str = "batch") -> str | None:
    """Return why this backend cannot run on these tokens (B, N, C) for this form of the result, or None if it can."""
    if output.masks != (None,) * 4:
        return "it takes no key_padding_mask"
    if output.logits or output.dtype not in (None, tokens.dtype):
        return "it returns weights in the dtype of the tokens only"
    if scope == "world":
        return "it does not compare across processes"
    if tokens.dtype not in DTYPES:
        return f"it takes float32, bfloat16 or float16 tokens, not {tokens.dtype}"
    if INTERPRETED:
        return None
    if tokens.device.type != "cuda" or torch.version.cuda is None:
        return f"it needs tokens on an NVIDIA GPU, not on {tokens.device} (or TRITON_INTERPRET=1 to run on a CPU)"
    if torch.cuda.get_device_capability(tokens.device) < (8, 0):
        return f"it needs compute capability 8.0 or later, which {tokens.device} does not have"
    return None


def euclidean_distance(q: Tensor, k: Tensor) -> Tensor:
    """Return Euclidean distances (B, Nq, Nk) in float32."""
    distances: Tensor = Distance.apply(q, k)
    return distances


def cross_similarity(qk_a: Tensor, qk_p: Tensor, scope: str, output: Output = WEIGHTS) -> tuple[Tensor, ...]:
    """Return attention weights (B, N) of anchor and positive."""
    w_a, w_p, *_ = Weights.apply(None, 1.0, "s", scope, qk_a, qk_p, None, None)
    return w_a, w_p


def quadruplet_cross_similarity(
    qk_a: Tensor,
    qk_p: Tensor,
    qk_n: Tensor,
    qk_n2: Tensor,
    gain: Tensor | float,
    matrices: str,
    scope: str,
    output: Output = WEIGHTS,
) -> tuple[Tensor, ...]:
    """Return attention weights (B, N) of the four images."""
    parameter, factor = None, 1.0
    if matrices == "sd":
        if isinstance(gain, Tensor):
            parameter = gain.to(qk_a.device, torch.float32)
        else:
            factor = float(gain)
    w_a, w_p, w_n, w_n2, *_ = Weights.apply(parameter, factor, matrices, scope, qk_a, qk_p, qk_n, qk_n2)
    return w_a, w_p, w_n, w_n2
