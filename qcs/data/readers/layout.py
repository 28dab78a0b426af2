"""Define the error for an unexpected layout of files."""

from __future__ import annotations

from qcs.errors import InputError


class LayoutError(InputError):
    """An unexpected layout of files.

    Args:
        found: The problem, with its path.
        layout: The expected layout: one line for each file, folder or alternative.
        advice: What to do; empty if the layout says it.

    Attributes:
        found, layout, advice: See above.

    Example:
        >>> print(LayoutError("faces holds no list", ("FOLDER/list.txt", "FOLDER/images/<name>.jpg")))
        faces holds no list; expected FOLDER/list.txt, FOLDER/images/<name>.jpg
    """

    def __init__(self, found: str, layout: tuple[str, ...], advice: str = "") -> None:
        expected = ", ".join(" ".join(line.split()) for line in layout)
        super().__init__(f"{found}; expected {expected}{advice and '; '}{advice}")
        self.found, self.layout, self.advice = found, layout, advice
