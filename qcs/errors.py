"""The exception for input that the user can correct, and the check of an argument against its choices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from qcs.escaping import shortened

T = TypeVar("T")


class InputError(ValueError):
    """Bad input: the message names what was wrong, what was expected and what to do.

    A `ValueError`, so library users need not know this class; the command line prints its message as one line and
    exits with a non-zero status instead of showing a traceback.

    Example:
        >>> from qcs.errors import InputError
        >>> issubclass(InputError, ValueError)
        True
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(shortened(str(message)))  # it may quote a file of any size


class DivergedError(InputError):
    """A network or its loss gives values that are infinite or NaN."""


def brief(text: str, most: int = 200) -> str:
    r"""Return untrusted text for a message: on one line, no longer than `most` characters.

    Example:
        >>> brief("a\nb"), brief("x" * 1000, most=8)
        ('a b', 'xxxxxxx…')
    """
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else line[: most - 1] + "…"


def check_choice(name: str, value: object, choices: Iterable[T]) -> T:
    """Return the value if it is one of the choices.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        choices: What is allowed.

    Raises:
        InputError: If the value is none of them.

    Example:
        >>> check_choice("scope", "batch", ("batch", "sample"))
        'batch'
        >>> check_choice("scope", "image", ("batch", "sample"))
        Traceback (most recent call last):
        ...
        qcs.errors.InputError: scope must be one of batch, sample; got 'image'
    """
    allowed = tuple(choices)
    for choice in allowed:
        if isinstance(value, type(choice)) and value == choice:
            return choice
    raise InputError(f"{name} must be one of {', '.join(map(str, allowed))}; got {value!r}")
