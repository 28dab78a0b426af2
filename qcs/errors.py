"""The one exception type raised for input the user can correct."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: the message names what was wrong, what was expected and what to do.

    A `ValueError`, so library users need not know this class; the command line prints its message as one line and
    exits with a non-zero status instead of showing a traceback.

    Example:
        >>> from qcs.errors import InputError
        >>> issubclass(InputError, ValueError)
        True
    """
