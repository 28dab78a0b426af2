"""The memory that an operator may keep for its backward pass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from qcs.errors import InputError

SMALL = 64 * 2**20
"""Bytes that are kept without asking how much memory is free."""

FREE_FRACTION = 0.25
"""Fraction of the free memory that is kept without a stated budget."""

_stated: int | None = None


@contextmanager
def memory_budget(size: int | None) -> Iterator[None]:
    """State how much memory each operator may keep for its backward pass, for all calls inside the context.

    What is kept are the distances of all pairs of tokens, the only tensors that grow with the square of their number.
    They are kept while they fit. Beyond, they are computed again, strip by strip, where they are needed: the result is
    the same.

    Args:
        size: Bytes per call of an operator; None for a quarter of the memory that is free at the call, at least 64 MiB.

    Raises:
        InputError: If the size is negative.

    Example:
        >>> import torch, qcs
        >>> from qcs import functional as QF
        >>> with qcs.ops.memory_budget(1 << 20):
        ...     w_a, w_p = QF.cross_similarity(*torch.randn(2, 1, 784, 8))
    """
    global _stated
    if size is not None and size < 0:
        raise InputError(f"the memory budget must be at least 0 bytes, got {size}")
    before, _stated = _stated, size
    try:
        yield
    finally:
        _stated = before


def fits(size: int, device: torch.device) -> bool:
    """Return whether so many bytes are within the budget."""
    if _stated is not None:
        return size <= _stated
    return size <= SMALL or size <= FREE_FRACTION * free_memory(device.type, device.index)


@torch.compiler.assume_constant_result  # a compiled program keeps what was decided when it was compiled
def free_memory(kind: str, index: int | None) -> int:
    """Return the free memory of a device in bytes; of a device that does not tell, none beyond `SMALL`."""
    if kind == "cuda":
        return torch.cuda.mem_get_info(index)[0]
    if kind != "cpu":
        return 0
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if hasattr(os, "sysconf") else 0
