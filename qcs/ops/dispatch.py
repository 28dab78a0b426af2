"""Choose the backend that runs an operator, and say why.

Automatic choice (`None`) always finds a backend that can run; a backend requested by name runs, or raises with the
reason why it cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

from torch import Tensor

from qcs.errors import InputError
from qcs.ops import analytic, compiled, reference
from qcs.ops.output import WEIGHTS, Output

BACKENDS: tuple[str, ...] = ("reference", "analytic", "compiled", "triton")
TRITON_FLOOR = (3, 3)
"""Oldest release of Triton, major and minor, that compiles the kernels."""

_DEFAULT = ("triton", "analytic")
_allowed: tuple[str, ...] = _DEFAULT


class Choice(NamedTuple):
    """A backend and the reason why it was chosen."""

    name: str
    why: str

    @property
    def module(self) -> ModuleType:
        """Return the module that implements the operators."""
        if self.name == "triton":
            return _triton()
        return {"reference": reference, "analytic": analytic, "compiled": compiled}[self.name]


def _is_triton_installed() -> bool:
    """Return whether a Triton is installed that compiles the kernels; reads metadata, imports nothing."""
    if find_spec("triton") is None:
        return False
    try:
        release = version("triton").split(".")[:2]
    except PackageNotFoundError:  # a build without metadata, or under another name
        return True
    return tuple(map(int, release)) >= TRITON_FLOOR


TRITON_INSTALLED = _is_triton_installed()


@contextmanager
def backend(*names: str) -> Iterator[None]:
    """Set the backends that None may choose, for all calls inside the context, in the manner of `sdpa_kernel`.

    The first one that can run is taken. A backend named in a call, layer or model is not affected.

    Args:
        names: One or more of `"reference"`, `"analytic"`, `"compiled"` and `"triton"`, in order of preference.

    Raises:
        InputError: If there is no name, or an unknown one; in a call, if none of them can run.

    Example:
        >>> import torch, qcs
        >>> from qcs import functional as QF
        >>> with qcs.ops.backend("triton", "reference"):
        ...     w_a, w_p = QF.cross_similarity(*torch.randn(2, 1, 49, 8))
    """
    global _allowed
    if not names:
        raise InputError(f"name at least one backend: {', '.join(map(repr, BACKENDS))}")
    for name in names:
        _check(name)
    before, _allowed = _allowed, names
    try:
        yield
    finally:
        _allowed = before


def choose(
    backend: str | None, tokens: Tensor | None = None, output: Output = WEIGHTS, scope: str = "batch"
) -> ModuleType:
    """Return the module that implements the operators: the requested backend, or for None the first that can run.

    Args:
        backend: None, or one of `BACKENDS`.
        tokens: Input of the operator; without it, only conditions that do not depend on the input are checked.
        output: Form of the result.
        scope: Where extremal distances are taken.

    Returns:
        A module with `euclidean_distance`, `cross_similarity`, `quadruplet_cross_similarity` and `bilinear_pooling`.

    Raises:
        InputError: If the backend is unknown, or known but unable to run here.
    """
    return decide(backend, tokens, output, scope).module


def decide(backend: str | None, tokens: Tensor | None = None, output: Output = WEIGHTS, scope: str = "batch") -> Choice:
    """Return the choice that `choose` makes, with its reason; arguments and errors are the same."""
    if backend is not None:
        _check(backend)
        reason = _why_not(backend, tokens, output, scope, named=True)
        if reason is not None:
            raise InputError(f"backend {backend!r} cannot run: {reason}; use backend=None, 'analytic' or 'reference'")
        return Choice(backend, "it was asked for by name")
    obstacles: list[str] = []
    for name in _allowed:
        reason = _why_not(name, tokens, output, scope)
        if reason is None:
            return Choice(name, "; ".join(obstacles) or "it is the first choice")
        obstacles.append(f"{name!r} cannot run: {reason}")
    raise InputError(f"no allowed backend can run: {'; '.join(obstacles)}; allow 'analytic' or 'reference'")


def _check(name: str) -> None:
    if name not in BACKENDS:
        raise InputError(f"unknown backend {name!r}; expected None or one of {', '.join(map(repr, BACKENDS))}")


def _why_not(name: str, tokens: Tensor | None, output: Output, scope: str, named: bool = False) -> str | None:
    """Return why a backend cannot run, or None if it can."""
    if name == "compiled":
        return compiled.reason(tokens)
    if name != "triton":
        return None
    if not named and _allowed == _DEFAULT and (tokens is None or not tokens.is_cuda):
        return "the tokens are not on a GPU"  # found without importing it, and where its interpreter would take them
    if not TRITON_INSTALLED:
        return f"the package triton is not installed, or is older than {TRITON_FLOOR[0]}.{TRITON_FLOOR[1]}"
    return None if tokens is None else _triton().reason(tokens, output, scope)


def _triton() -> ModuleType:
    from qcs.ops import triton  # imported only when used: it needs the package triton

    return triton
