"""Types for calls of modules: `nn.Module.__call__` returns `Any` for a type checker, whatever `forward` declares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_Forward = TypeVar("_Forward", bound=Callable[..., Any])


def same_signature(forward: _Forward) -> Callable[[Callable[..., object]], _Forward]:
    """Declare that a method has the signature of `forward`, overloads included.

    A module puts it above an empty `__call__`, after its `forward` and under `if TYPE_CHECKING:`. mypy and pyright both
    understand that; with a plain `__call__ = forward`, pyright keeps the inherited type.

    Args:
        forward: The method whose signature is taken.

    Returns:
        A decorator for type checkers. It does nothing when the code runs.
    """

    def declare(method: Callable[..., object]) -> Any:
        return method

    return declare
