"""Which implementation of an operator runs.

Automatic choice (`None`) always finds one that can run; a backend asked for by name runs or raises saying why not.
"""

from __future__ import annotations

from types import ModuleType

from qcs.errors import InputError
from qcs.ops import reference

BACKENDS: tuple[str, ...] = ("reference", "analytic", "triton")


def choose(backend: str | None) -> ModuleType:
    """Module that implements the operators for `backend`, or the best available one for None.

    Args:
        backend: None, or one of `BACKENDS`.

    Returns:
        A module with `euclidean_distance`, `cross_similarity`, `quadruplet_cross_similarity` and `bilinear_pooling`.

    Raises:
        InputError: If the backend is unknown, or known but unable to run here.
    """
    if backend is None or backend == "reference":
        return reference
    if backend in BACKENDS:
        raise InputError(f"backend {backend!r} is not part of this release; use backend=None or 'reference'")
    raise InputError(f"unknown backend {backend!r}; expected None or one of {', '.join(map(repr, BACKENDS))}")
