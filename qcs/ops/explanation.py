"""Say what would run, and why, without running it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from qcs.ops import analytic, dispatch
from qcs.ops.output import Output

_PATHS = {
    "traced": "the compiler fuses the closed form around its products",
    "kept": "the distances are kept for the backward pass",
    "recomputed": "the distances exceed the memory budget and are computed again in every pass",
}


class Explanation(NamedTuple):
    """What runs and why, see `explain`.

    Attributes:
        backend: Name of the backend.
        why: Why this one: asked for by name, or why those before it cannot run.
        path: How `analytic` and `compiled` run: `"traced"`, `"kept"` or `"recomputed"`; else `"whole"`.
        distances: Size of the distances of all pairs of tokens in bytes.
        note: What that means for memory, in words.
    """

    backend: str
    why: str
    path: str
    distances: int
    note: str

    def __str__(self) -> str:
        return f"{self.backend}: {self.why}. {self.distances / 2**20:,.1f} MiB of distances: {self.note}."


def explain(
    *tokens: Tensor,
    matrices: str = "sd",
    scope: str = "batch",
    key_padding_mask: tuple[Tensor | None, ...] | None = None,
    logits: bool = False,
    dtype: torch.dtype | None = None,
    backend: str | None = None,
) -> Explanation:
    """Return what a call of `cross_similarity` or `quadruplet_cross_similarity` with these arguments runs, and why.

    Nothing is computed; tensors on the device `"meta"` are enough to ask about a CPU.

    Args:
        tokens: Tokens (B, N, C) of two images, or of four.
        matrices: Matrices of a quadruplet.
        scope: Where extremal distances are taken.
        key_padding_mask: Padding of each image.
        logits: Whether logits are returned.
        dtype: Of the result.
        backend: Implementation; None chooses.

    Raises:
        InputError: If the call would raise because a backend is unknown or cannot run.

    Example:
        >>> import torch, qcs
        >>> found = qcs.ops.explain(*torch.empty(4, 24, 49, 768, device="meta"))
        >>> found.backend, found.path
        ('analytic', 'kept')
        >>> with qcs.ops.memory_budget(0):
        ...     qcs.ops.explain(*torch.empty(4, 24, 49, 768, device="meta")).note
        'the distances exceed the memory budget and are computed again in every pass'
    """
    choice = dispatch.decide(backend, tokens[0], Output(logits, dtype, key_padding_mask), scope)
    pairs = _pairs(tokens, matrices)
    size = torch.promote_types(tokens[0].dtype, torch.float32).itemsize
    distances = size * sum(rows.shape[0] * rows.shape[1] * columns.shape[1] for rows, columns in pairs)
    if choice.name in ("reference", "triton"):
        held = {
            "reference": "the definition keeps them and several tensors of their size",
            "triton": "the kernels keep them for up to 64 tokens, and compute them again beyond",
        }
        return Explanation(*choice, "whole", distances, held[choice.name])
    is_grid = len(tokens) == 4 and matrices == "sd" and all(x.shape == tokens[0].shape for x in tokens)
    largest = distances if is_grid else size * max(r.shape[0] * r.shape[1] * c.shape[1] for r, c in pairs)
    device = tokens[0].device if tokens[0].device.type != "meta" else torch.device("cpu")
    path = analytic.path(largest, device, choice.name == "compiled" or torch.compiler.is_compiling())
    return Explanation(*choice, path, distances, _PATHS[path])


def _pairs(tokens: tuple[Tensor, ...], matrices: str) -> list[tuple[Tensor, Tensor]]:
    """Return rows and columns of every matrix."""
    if len(tokens) == 2:
        return [(tokens[1], tokens[0])]
    a, p, n, n2 = tokens
    pairs = {"s": [(p, a), (n2, n)], "d": [(n, a), (n2, p)]}
    return [pair for kind in matrices for pair in pairs[kind]]
