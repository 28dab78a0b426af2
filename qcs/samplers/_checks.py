"""Argument checks of the samplers: each returns the plain value or says what was expected."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from qcs.errors import InputError


def check_integer(name: str, value: Any, *, low: int, high: int | None = None) -> int:
    """The value as an int, or an InputError that names it and its range."""
    if isinstance(value, Integral) and low <= int(value) and (high is None or int(value) <= high):
        return int(value)
    expected = f"at least {low}" if high is None else f"from {low} to {high}"
    raise InputError(f"{name} must be an integer {expected}, got {value!r}")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """The value, or an InputError that names the choices."""
    if value in choices:
        return str(value)
    raise InputError(f"{name} must be {' or '.join(map(repr, choices))}, got {value!r}")


def check_fraction(value: Any) -> float:
    """The value as a float in (0, 1]."""
    if isinstance(value, Real) and 0 < float(value) <= 1:
        return float(value)
    raise InputError(f"fraction must be a number above 0 and at most 1, got {value!r}")
