"""Count the operators that PyTorch dispatches per quadruplet, forward and backward: `python benchmarks/dispatches.py`.

Each costs microseconds, however small the images. The second number counts operators dispatched inside the library's
own operators. With TRITON_INTERPRET=1, kernel launches of Triton are counted as well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contenders import Case, images
from qcs import functional as QF

_Mode: Any = TorchDispatchMode  # untyped in PyTorch
CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
SHAPES = ((24, 49, 768), (24, 196, 768))


class Count(NamedTuple):
    """Operators dispatched, each of the library's own counted as one, and operators dispatched inside those."""

    outside: int
    inside: int

    def __str__(self) -> str:
        return f"{self.outside} + {self.inside}"


class Counter(_Mode):
    """Count the operators dispatched below autograd."""

    def __init__(self) -> None:
        super().__init__()
        self.count = Count(0, 0)
        self._inside = False

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outside, inside = self.count
        self.count = Count(outside, inside + 1) if self._inside else Count(outside + 1, inside)
        if func.namespace != "qcs":
            return func(*args, **(kwargs or {}))
        self._inside = True
        with self:  # PyTorch disables a mode while it handles an operator
            result = func.redispatch(CPU, *args, **(kwargs or {}))
        self._inside = False
        return result


def dispatches(backend: QF.Backend, case: Case) -> tuple[Count, Count]:
    """Return the operators of the forward and of the backward pass."""

    def counted(run: Callable[[], Any]) -> tuple[Any, Count]:
        with Counter() as counter:
            return run(), counter.count

    tokens = images(case)
    weights, forward = counted(lambda: QF.quadruplet_cross_similarity(*tokens, backend=backend))
    upstream = [torch.randn_like(w) for w in weights]
    _, backward = counted(lambda: torch.autograd.grad(weights, tokens, upstream))
    return forward, backward


def launches(case: Case) -> tuple[int, int]:
    """Return the numbers of kernels that Triton's interpreter launches in the forward and in the backward pass."""
    from triton.runtime.interpreter import InterpretedFunction

    launched: list[str] = []
    run = InterpretedFunction.run

    def counted(kernel: Any, *args: Any, **kwargs: Any) -> Any:
        launched.append(kernel.fn.__name__)
        return run(kernel, *args, **kwargs)

    setattr(InterpretedFunction, "run", counted)  # noqa: B010 - assigning to a method is refused by type checkers
    try:
        tokens = images(case)
        weights = QF.quadruplet_cross_similarity(*tokens, backend="triton")
        forward = len(launched)
        torch.autograd.grad(weights, tokens, [torch.randn_like(w) for w in weights])
        return forward, len(launched) - forward
    finally:
        setattr(InterpretedFunction, "run", run)  # noqa: B010


def main() -> None:
    """Print the counts."""
    print("| tokens (B, N, C) | backend | forward | backward |\n| --- | --- | --- | --- |")
    backends: tuple[QF.Backend, ...] = ("reference", "analytic")
    for shape in SHAPES:
        for backend in backends:
            forward, backward = dispatches(backend, Case(*shape, backward=True, device="cpu"))
            print(f"| {shape} | {backend} | {forward} | {backward} |")
    if os.environ.get("TRITON_INTERPRET") == "1":
        shape = (1, 49, 64)  # small, for the slow interpreter; batch and channels do not affect launches
        forward_launches, backward_launches = launches(Case(*shape, backward=True, device="cpu"))
        print(f"| {shape} | triton, launches | {forward_launches} | {backward_launches} |")
    else:
        print("\nTriton's launches are counted in its interpreter: set TRITON_INTERPRET=1.")


if __name__ == "__main__":
    main()
