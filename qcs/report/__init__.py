"""Figures of trained networks, and the HTML report on runs.

`DataLocation` and `write_report` load on first use: `qcs.report.figures` needs only the extra `viz`, the HTML report
needs the extra `report`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qcs.report.gather import DataLocation
    from qcs.report.page import write_report

_HOME = {"DataLocation": "gather", "write_report": "page"}

__all__ = ["DataLocation", "write_report"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
