"""Choose the backend that runs an operator.

Automatic choice (`None`) always finds a backend that can run; a backend requested by name runs, or raises with the
reason why it cannot.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType

from torch import Tensor

from qcs.errors import InputError
from qcs.ops import analytic, reference

BACKENDS: tuple[str, ...] = ("reference", "analytic", "triton")
TRITON_FLOOR = (3, 3)
"""Oldest release of Triton, major and minor, that compiles the kernels."""


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


def choose(backend: str | None, tokens: Tensor | None = None) -> ModuleType:
    """Return the module that implements the operators: the requested backend, or for None the fastest that can run.

    Args:
        backend: None, or one of `BACKENDS`.
        tokens: Input of the operator; without it, only conditions that do not depend on the input are checked.

    Returns:
        A module with `euclidean_distance`, `cross_similarity`, `quadruplet_cross_similarity` and `bilinear_pooling`.

    Raises:
        InputError: If the backend is unknown, or known but unable to run here.
    """
    if backend is None:
        on_device = tokens is not None and tokens.is_cuda
        return _triton() if on_device and _why_not_triton(tokens) is None else analytic
    if backend == "reference":
        return reference
    if backend == "analytic":
        return analytic
    if backend != "triton":
        raise InputError(f"unknown backend {backend!r}; expected None or one of {', '.join(map(repr, BACKENDS))}")
    reason = _why_not_triton(tokens)
    if reason is not None:
        raise InputError(f"backend 'triton' cannot run: {reason}; use backend=None, 'analytic' or 'reference'")
    return _triton()


def _why_not_triton(tokens: Tensor | None) -> str | None:
    if not TRITON_INSTALLED:
        return f"the package triton is not installed, or is older than {TRITON_FLOOR[0]}.{TRITON_FLOOR[1]}"
    return None if tokens is None else _triton().reason(tokens)


def _triton() -> ModuleType:
    from qcs.ops import triton  # imported only when used: it needs the package triton

    return triton
