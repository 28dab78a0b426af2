"""Argument checks of the samplers: each returns the plain value or raises with what was expected."""

from __future__ import annotations

from numbers import Integral, Real

from qcs.errors import InputError


def check_integer(name: str, value: object, *, low: int, high: int | None = None) -> int:
    """Return the value as an int, or raise InputError if it is no integer in the range."""
    if isinstance(value, Integral) and low <= int(value) and (high is None or int(value) <= high):
        return int(value)
    expected = f"at least {low}" if high is None else f"from {low} to {high}"
    raise InputError(f"{name} must be an integer {expected}, got {value!r}")


def check_fraction(value: object) -> float:
    """Return the value as a float in (0, 1], or raise InputError."""
    if isinstance(value, Real) and 0 < float(value) <= 1:
        return float(value)
    raise InputError(f"fraction must be a number above 0 and at most 1, got {value!r}")
