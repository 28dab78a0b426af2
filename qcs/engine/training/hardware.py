"""Adapt a training to the machine: precision, attention kernel, compiler, memory."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn

from qcs.errors import InputError

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt, see malloc.h


def native_precision() -> Literal["bf16", "fp32"]:
    """Return `"bf16"` if the processor computes bfloat16 natively, without emulation; else `"fp32"`."""
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # from PyTorch 2.11 on
        native = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return "bf16" if native else "fp32"


def use_plain_attention(model: nn.Module) -> None:
    """Compute attention as matrix products, which on CPUs is faster than PyTorch's fused kernel, most in bfloat16.

    The outputs of the network are the same. Only attention modules with timm's switch `fused_attn` are changed.
    """
    attentions: list[Any] = [module for module in model.modules() if hasattr(module, "fused_attn")]
    for attention in attentions:
        attention.fused_attn = False


def check_compiler() -> None:
    """Check that `torch.compile` works on this machine.

    Raises:
        InputError: If it does not, as without a C++ compiler.
    """
    try:
        torch.compile(torch.neg)(torch.zeros(2))
    except Exception as error:  # Inductor's own, of many kinds
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"torch.compile does not work here, leave out --compile: {reason}") from error


def keep_freed_memory() -> None:
    """Let the C library reuse the memory of freed tensors instead of returning it to the system.

    A training step on a CPU frees and allocates the same large tensors again and again, and new pages cost time. This
    changes the whole process, which stays as large as it has ever been, and cannot be undone; so no function of the
    library calls it. `qcs train` and `qcs demo` do. A script that trains on a CPU may, before it trains. It acts with
    glibc alone; elsewhere nothing happens.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tune is not None:
        tune(_MMAP_MAX, 0)
        tune(_TRIM_THRESHOLD, 2**31 - 1)


@contextlib.contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Raise an `InputError` that says what to do where memory runs out."""
    try:
        yield
    except RuntimeError as error:  # the allocator of CPUs raises nothing more specific
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise InputError(
                "out of memory; lower --batch-size (and raise --accumulate to keep the images per step), or train with "
                "--precision bf16"
            ) from error
        raise
