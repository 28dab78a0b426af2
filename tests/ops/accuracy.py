"""Errors of every backend against the definition in float64, by precision and by kind of tokens.

`python tests/ops/accuracy.py` prints the table; with TRITON_INTERPRET=1 the Triton kernels are in it.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from ops.comparing import errors, weights
from ops.hard_cases import HARD_CASES

from qcs.ops import analytic, reference

SEEDS = 7
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def ordinary(n: int) -> list[Tensor]:
    return [torch.randn(2, n, 8) for _ in range(4)]


def published_size(n: int) -> list[Tensor]:
    return [torch.randn(2, 49, 768) for _ in range(4)]


def backends() -> list[ModuleType]:
    """Those that can run here."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        return [reference, analytic]
    from qcs.ops import triton

    return [reference, analytic, triton]


def worst(backend: ModuleType, case: Callable[[int], list[Tensor]], dtype: torch.dtype) -> float:
    """Largest error of any value or gradient relative to the largest value of its tensor: the median of the seeds."""
    found = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        tokens = [x.to(dtype) for x in case(20)]
        found.append(max(error / size for error, _, size in errors(backend, weights("sd", "batch"), tokens)))
    return statistics.median(found)


def table() -> Iterator[str]:
    """Lines of the table in Markdown."""
    names = [backend.__name__.rpartition(".")[2] for backend in backends()]
    yield f"| precision | tokens | {' | '.join(names)} |"
    yield "|---|---|" + "---|" * len(names)
    for dtype in DTYPES:
        for case in (ordinary, published_size, *HARD_CASES):
            columns = []
            for backend in backends():
                refused = backend.__name__.endswith("triton") and dtype == torch.float64
                columns.append("not taken" if refused else f"{worst(backend, case, dtype):.1e}")
            yield f"| {str(dtype)[6:]} | {case.__name__.replace('_', ' ')} | {' | '.join(columns)} |"


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
