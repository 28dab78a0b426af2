"""Precision of matrix products on GPUs, which a program may have lowered for its network.

Products of distances need float32: TF32 has 10 bits, and distances are differences of its results.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_MATMUL: Any = torch.backends.cuda.matmul
_HAS_PRECISION = hasattr(_MATMUL, "fp32_precision")  # PyTorch refuses to mix the two ways to set it


def is_tf32_allowed(device: torch.device) -> bool:
    """Return whether float32 products on this device may run in TF32."""
    if device.type != "cuda":
        return False
    return bool(_MATMUL.fp32_precision == "tf32" if _HAS_PRECISION else _MATMUL.allow_tf32)


@contextmanager
def float32_products(device: torch.device) -> Iterator[None]:
    """Multiply in full float32 on this device, and restore the program's setting."""
    if not is_tf32_allowed(device):
        yield
        return
    _set("ieee")
    try:
        yield
    finally:
        _set("tf32")


def _set(precision: str) -> None:
    if _HAS_PRECISION:
        _MATMUL.fp32_precision = precision
    else:
        _MATMUL.allow_tf32 = precision == "tf32"


def is_capturing(device: torch.device) -> bool:
    """Return whether a CUDA graph is recorded: then the host must not ask for results."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()
