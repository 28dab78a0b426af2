"""How many objects of a kind are in memory at the same time."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any


class Living:
    """Call a function and count its results that are still in memory.

    Attributes:
        most: Largest number at any call.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.most = function, 0
        self._seen: list[weakref.ref[Any]] = []

    def __call__(self, *arguments: Any) -> Any:
        made = self.function(*arguments)
        self._seen.append(weakref.ref(made))
        self.most = max(self.most, self.now)
        return made

    @property
    def now(self) -> int:
        """Number that is in memory."""
        return sum(seen() is not None for seen in self._seen)
