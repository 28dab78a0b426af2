"""How a backend's operators are compared with the definition in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qcs.ops import reference
from qcs.ops.output import WEIGHTS, Output

Operator = Callable[[Any, list[Tensor], Tensor], list[Tensor]]
"""A backend's operator on tokens and gain."""


def weights(matrices: str, scope: str, output: Output = WEIGHTS) -> Operator:
    """The attention operator with its options; matrices "dual" for the two-image form."""

    def run(backend: Any, tokens: list[Tensor], gain: Tensor) -> list[Tensor]:
        if matrices == "dual":
            return list(backend.cross_similarity(*tokens[:2], scope, output))
        return list(backend.quadruplet_cross_similarity(*tokens, gain, matrices, scope, output))

    return run


def distances(backend: Any, tokens: list[Tensor], gain: Tensor) -> list[Tensor]:
    """The distance operator."""
    return [backend.euclidean_distance(*tokens[:2])]


def values_and_gradients(backend: Any, operator: Operator, tokens: list[Tensor], gain: float = 0.7) -> list[Tensor]:
    """Outputs, then gradients of all inputs that have one, for random upstream gradients (the same for any dtype)."""
    tokens = [x.detach().requires_grad_() for x in tokens]
    precise = torch.promote_types(tokens[0].dtype, torch.float32)
    parameter = torch.tensor(gain, dtype=precise, device=tokens[0].device, requires_grad=True)
    outputs = operator(backend, tokens, parameter)
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(y.shape, generator=generator).bfloat16().to(y) for y in outputs]
    inputs = [*tokens, parameter]
    gradients = torch.autograd.grad(outputs, inputs, upstream, allow_unused=True)
    return [y.detach() for y in outputs] + [g for g in gradients if g is not None]


def errors(backend: Any, operator: Operator, tokens: list[Tensor]) -> list[tuple[float, float, float]]:
    """Largest error of each output and gradient: the backend's, the reference's, and the largest exact value."""
    exact = values_and_gradients(reference, operator, [x.double() for x in tokens])
    usual = values_and_gradients(reference, operator, tokens)
    tested = values_and_gradients(backend, operator, tokens)
    assert len(exact) == len(tested)
    return [
        # The gain's gradient is one sum, which may cancel: its scale is that of its terms.
        (float((t - e).abs().max()), float((u - e).abs().max()), max(float(e.abs().max()), 0.1 if e.ndim == 0 else 0))
        for t, u, e in zip(tested, usual, exact, strict=True)
    ]


def assert_as_exact(backend: Any, operator: Operator, tokens: list[Tensor], floor: float = 2e-5) -> None:
    """Errors against float64 at most twice the reference's, plus a floor relative to the largest value."""
    for number, (error, usual, size) in enumerate(errors(backend, operator, tokens)):
        assert error <= 2 * usual + floor * size, (
            f"result {number}: error {error:.1e}, reference {usual:.1e} of {size:.1e}"
        )
