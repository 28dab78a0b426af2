"""Contenders of the benchmark: every way to compute the attention of a quadruplet, and bare products as baseline.

All but the products compute the same: matrices "sd", scope "batch", gain 1, from the tokens of four images.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from qcs import functional as QF
from qcs.errors import InputError
from qcs.ops import choose, reference

Run = Callable[[], object]
"""One pass over existing tokens."""

Operator = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, ...]]
"""Attention weights (B, N) of a, p, n and n2 from their tokens (B, N, C)."""

Importance = Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor]]
"""Importance of columns (B, M) and rows (B, N) from row and column tokens, by similarity or else by dissimilarity."""

MEMORY_LIMIT = 10 * 2**30
"""Bytes that a contender may allocate beyond the tokens."""


class Case(NamedTuple):
    """A pass over four images of float32 tokens (B, N, C)."""

    batch: int
    tokens: int
    channels: int
    backward: bool
    device: str

    @property
    def direction(self) -> str:
        """Return `"forward"` or `"forward+backward"`."""
        return "forward+backward" if self.backward else "forward"

    @property
    def token_bytes(self) -> int:
        """Return the size of the tokens of all four images, in bytes."""
        return 4 * self.batch * self.tokens * self.channels * 4


class Contender(NamedTuple):
    """A way to compute the attention, and the number of matrices (B, N, N) in memory at its peak."""

    prepare: Callable[[Case], Run]
    matrices: int
    compiled: bool = False
    missing: Callable[[Case], str | None] = lambda case: None


def images(case: Case) -> list[Tensor]:
    """Return tokens (B, N, C) of four images, equal for every contender."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(4, case.batch, case.tokens, case.channels, generator=generator)
    return [x.clone().requires_grad_() for x in tokens.to(case.device)]


def run_of(name: str, case: Case) -> Run | str:
    """Return the pass of a contender, ready to call, or the reason why it is not run."""
    contender = CONTENDERS[name]
    need = contender.matrices * case.batch * case.tokens**2 * 4
    if need > MEMORY_LIMIT:
        return f"needs about {need / 2**30:.0f} GiB, the limit is {MEMORY_LIMIT / 2**30:.0f} GiB"
    return contender.missing(case) or contender.prepare(case)


def pass_of(operator: Operator) -> Callable[[Case], Run]:
    """Return a factory of passes: forward as in training, recorded for autograd, and backward from random gradients."""

    def prepare(case: Case) -> Run:
        tokens = images(case)
        generator = torch.Generator().manual_seed(1)
        upstream = list(torch.randn(4, case.batch, case.tokens, generator=generator).to(case.device))
        if case.backward:
            return lambda: torch.autograd.grad(operator(*tokens), tokens, upstream)
        return lambda: operator(*tokens)

    return prepare


def _compiled(operator: Operator) -> Callable[[Case], Run]:
    return lambda case: pass_of(torch.compile(operator, dynamic=False))(case)


def _backend(name: QF.Backend) -> Operator:
    return lambda a, p, n, n2: QF.quadruplet_cross_similarity(a, p, n, n2, backend=name)


def quadruplet(importance: Importance) -> Operator:
    """Return the definition of the operator, given a function for the importance of columns and rows of a matrix."""

    def operator(a: Tensor, p: Tensor, n: Tensor, n2: Tensor) -> tuple[Tensor, ...]:
        similar_a, similar_p = importance(p, a, True)
        similar_n, similar_n2 = importance(n2, n, True)
        different_a, different_n = importance(n, a, False)
        different_p, different_n2 = importance(n2, p, False)
        logits = (similar_a + different_a, similar_p + different_p, similar_n + different_n, similar_n2 + different_n2)
        return tuple(x.softmax(-1) for x in logits)

    return operator


def _by_products(row: Tensor, column: Tensor, similar: bool) -> tuple[Tensor, Tensor]:
    """Return importance from `torch.cdist` with default options: a matrix product for more than 25 tokens."""
    align = reference.similarity if similar else reference.dissimilarity
    return reference.importance(align(torch.cdist(row, column), "batch"))


def reductions(lazy_distance: Callable[[Tensor, Tensor], Any]) -> Importance:
    """Return an importance function of reductions over lazy distances (B, N, M, 1)."""

    def importance(row: Tensor, column: Tensor, similar: bool) -> tuple[Tensor, Tensor]:
        distance = lazy_distance(row, column)
        # Extremal reductions have no gradient in KeOps: find each row's extremal column, then compute its distance.
        partner = (distance.argmax(dim=2) if similar else distance.argmin(dim=2)).expand(-1, -1, row.shape[2])
        extremal = torch.linalg.vector_norm(row - column.gather(1, partner), dim=-1)
        aligned = -distance + extremal.amax().view(1) if similar else distance - extremal.amin().view(1)
        per_row, per_column = ((aligned * aligned).sum(dim=dim).clamp_min(1e-24).rsqrt() for dim in (2, 1))
        column_importance = (aligned * per_row.unsqueeze(2)).sum(dim=1)
        row_importance = (aligned * per_column.unsqueeze(1)).sum(dim=2)
        return column_importance.squeeze(-1), row_importance.squeeze(-1)

    return importance


def _keops_distance(row: Tensor, column: Tensor) -> Any:
    lazy: Any = import_module("pykeops.torch").LazyTensor  # importing it may compile
    return (lazy(row.unsqueeze(2)) - lazy(column.unsqueeze(1))).norm2()


def _products(case: Case) -> Run:
    """Return the products that every closed form needs, into preallocated memory: one forward, two backward."""
    a, p, n, n2 = (x.detach() for x in images(case))
    rows, columns = torch.cat([p, n], 1), torch.cat([a, n2], 1)
    matrix = rows.new_empty(case.batch, rows.shape[1], columns.shape[1])
    grad_rows, grad_columns = torch.empty_like(rows), torch.empty_like(columns)

    def run() -> None:
        torch.bmm(rows, columns.mT, out=matrix)
        if case.backward:
            torch.bmm(matrix, columns, out=grad_rows)
            torch.bmm(matrix.mT, rows, out=grad_columns)

    return run


def _dot_products(case: Case) -> Run:
    """Return scaled-dot-product attention of the four pairs of images, another yardstick: not the same result."""
    tokens = images(case)
    a, p, n, n2 = tokens
    pairs = ((a, p), (n, n2), (a, n), (p, n2))
    generator = torch.Generator().manual_seed(1)
    upstream = torch.randn(case.batch, case.tokens, case.channels, generator=generator).to(case.device)

    def run() -> object:
        attended = [F.scaled_dot_product_attention(q, k, k) for pair in pairs for q, k in (pair, pair[::-1])]
        return torch.autograd.grad(attended, tokens, [upstream] * len(attended)) if case.backward else attended

    return run


def _no_triton(case: Case) -> str | None:
    if not case.device.startswith("cuda"):
        return "needs an NVIDIA GPU"
    try:
        choose("triton", torch.empty(1, device=case.device))
    except InputError as error:
        return str(error)
    return None


def _no_keops(case: Case) -> str | None:
    return None if find_spec("pykeops") else "the package pykeops is not installed"


_reference, _analytic, _cdist = _backend("reference"), _backend("analytic"), quadruplet(_by_products)

CONTENDERS: dict[str, Contender] = {
    "products": Contender(_products, matrices=4),
    "reference": Contender(pass_of(_reference), matrices=20),
    "reference, compiled": Contender(_compiled(_reference), matrices=20, compiled=True),
    "cdist": Contender(pass_of(_cdist), matrices=20),
    "cdist, compiled": Contender(_compiled(_cdist), matrices=20, compiled=True),
    "keops": Contender(pass_of(quadruplet(reductions(_keops_distance))), matrices=0, missing=_no_keops),
    "analytic": Contender(pass_of(_analytic), matrices=0),
    "analytic, compiled": Contender(_compiled(_analytic), matrices=0, compiled=True),
    "dot products": Contender(_dot_products, matrices=0),
    "triton": Contender(pass_of(_backend("triton")), matrices=0, missing=_no_triton),
}
