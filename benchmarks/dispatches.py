"""How many operators PyTorch dispatches per quadruplet, forward and backward: `python benchmarks/dispatches.py`.

Each costs microseconds, however small the images. What the library's own operators dispatch inside is counted too, as
the second number. With TRITON_INTERPRET=1, the kernels that Triton launches are counted beside them.
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
    """Operators dispatched, the library's own as one each, and what those dispatch in turn."""

    outside: int
    inside: int

    def __str__(self) -> str:
        return f"{self.outside} + {self.inside}"


class Counter(_Mode):
    """Counts the operators that come out of autograd."""

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
        with self:  # PyTorch turns a mode off while it handles an operator
            result = func.redispatch(CPU, *args, **(kwargs or {}))
        self._inside = False
        return result


def dispatches(backend: QF.Backend, case: Case) -> tuple[Count, Count]:
    """Operators of the forward and of the backward pass."""

    def counted(run: Callable[[], Any]) -> tuple[Any, Count]:
        with Counter() as counter:
            return run(), counter.count

    tokens = images(case)
    weights, forward = counted(lambda: QF.quadruplet_cross_similarity(*tokens, backend=backend))
    upstream = [torch.randn_like(w) for w in weights]
    _, backward = counted(lambda: torch.autograd.grad(weights, tokens, upstream))
    return forward, backward


def launches(case: Case) -> tuple[int, int]:
    """Kernels that Triton's interpreter launches in the forward and in the backward pass."""
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
        shape = (1, 49, 64)  # the interpreter is slow; batch and channels do not change the number of launches
        forward_launches, backward_launches = launches(Case(*shape, backward=True, device="cpu"))
        print(f"| {shape} | triton, launches | {forward_launches} | {backward_launches} |")
    else:
        print("\nTriton's launches are counted in its interpreter: set TRITON_INTERPRET=1.")


if __name__ == "__main__":
    main()
