"""The closed form under `torch.compile`, for code that is not compiled itself: the compiler fuses what is element-wise.

The first call of each shape compiles, for some seconds. Inside a compiled model the compiler sees the closed form
anyway, and this backend is the same as `analytic`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from qcs.ops import analytic
from qcs.ops.analytic import euclidean_distance as euclidean_distance  # an operator: nothing to fuse
from qcs.ops.output import WEIGHTS, Output
from qcs.ops.reference import bilinear_pooling as bilinear_pooling  # one product


def reason(tokens: Tensor | None = None) -> str | None:
    """Return why this backend cannot run here, or None if it can."""
    if tokens is not None and tokens.device.type != "cpu":
        return None
    if any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++", "cl")):
        return None
    return "it needs a C++ compiler: install g++ or clang++, or name one in the environment variable CXX"


def cross_similarity(qk_a: Tensor, qk_p: Tensor, scope: str, output: Output = WEIGHTS) -> tuple[Tensor, ...]:
    """Return attention weights (B, N) of anchor and positive."""
    weights: tuple[Tensor, ...] = _compiled(analytic.cross_similarity)(qk_a, qk_p, scope, output)
    return weights


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
    if not isinstance(gain, Tensor):  # a number would be compiled in
        gain = torch.full((), gain, dtype=torch.promote_types(qk_a.dtype, torch.float32), device=qk_a.device)
    run = _compiled(analytic.quadruplet_cross_similarity)
    weights: tuple[Tensor, ...] = run(qk_a, qk_p, qk_n, qk_n2, gain, matrices, scope, output)
    return weights


@cache
def _compiled(operator: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(operator, dynamic=False)
