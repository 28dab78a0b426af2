"""How a dataset lies on disk, and the error that shows it."""

from __future__ import annotations

from qcs.errors import InputError


class LayoutError(InputError):
    """Files that do not lie as expected.

    Args:
        found: What was found, and where.
        layout: What was expected: one line for each file, folder or choice.
        advice: What to do, where that is not plain.

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
