"""Escape text that comes from elsewhere, such as names of files and classes, for where it is shown.

HTML is escaped by the templates, and tables in Markdown by `qcs.publish.card`.
"""

from __future__ import annotations

import unicodedata

LONGEST_MESSAGE = 2000  # characters


_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # of right-to-left text


def printable(text: str) -> str:
    r"""Escape what a terminal would obey or cannot print: control characters, line breaks and lone surrogates.

    Names of files and classes come from elsewhere; one with an escape sequence could erase or fake lines.

    Example:
        >>> print(printable("sad\n\x1b[2J"))
        sad\n\x1b[2J
    """
    return "".join(_escaped(character) if _is_control(character) else character for character in text)


def drawable(text: str) -> str:
    r"""Escape what matplotlib cannot draw or takes for mathematics; line breaks stay.

    Example:
        >>> print(drawable("$_$"))
        \$_\$
    """
    return "\n".join(map(printable, text.split("\n"))).replace("$", r"\$")


def encodable(text: str) -> str:
    r"""Escape what no file in UTF-8 can hold: lone surrogates, as in names that are not UTF-8.

    Example:
        >>> print(encodable("caf\udce9"))
        caf\udce9
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def spreadsheet_text(text: str) -> str:
    """Return text as a cell of CSV that a spreadsheet shows instead of computing it as a formula.

    Example:
        >>> spreadsheet_text("=1+1"), spreadsheet_text("a.png")
        ("'=1+1", 'a.png')
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def shortened(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """Leave out the middle of a text of more than `longest` characters.

    Example:
        >>> shortened("abcdefghij" * 10, 70)
        'abcdefghij... [80 characters left out] ...abcdefghij'
    """
    if len(text) <= longest:
        return text
    half = max(0, longest - 50) // 2  # the note is not longer
    return f"{text[:half]}... [{len(text) - 2 * half:,} characters left out] ...{text[len(text) - half :]}"


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _REORDERING


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
