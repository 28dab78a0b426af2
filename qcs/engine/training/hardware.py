"""What the machine computes best: the precision it has, and the faster of two ways to attend."""

from __future__ import annotations

import ctypes
import sys
from typing import Any, Literal

import torch
from torch import nn

from qcs.errors import InputError

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt, see malloc.h


def native_precision() -> Literal["bf16", "fp32"]:
    """`"bf16"` where bfloat16 is computed natively, not emulated; else `"fp32"`."""
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # from PyTorch 2.11 on
        native = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return "bf16" if native else "fp32"


def use_plain_attention(model: nn.Module) -> None:
    """Attention as matrix products: PyTorch's fused kernel is the slower one on CPUs, above all in bfloat16."""
    attentions: list[Any] = [module for module in model.modules() if hasattr(module, "fused_attn")]
    for attention in attentions:
        attention.fused_attn = False


def check_compiler() -> None:
    """Try out `torch.compile`.

    Raises:
        InputError: If it cannot work here.
    """
    try:
        torch.compile(torch.neg)(torch.zeros(2))
    except Exception as error:  # Inductor's own, of many kinds
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"torch.compile does not work here, leave out --compile: {reason}") from error


def keep_freed_memory() -> None:
    """Let the C library reuse the memory of freed tensors instead of giving it back to the system each time.

    A training step frees and takes the same large tensors over and over, and fresh pages cost time. It holds for the
    process, which then stays as large as it has ever been. Only glibc can be told; elsewhere nothing happens.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tune is not None:
        tune(_MMAP_MAX, 0)
        tune(_TRIM_THRESHOLD, 2**31 - 1)
