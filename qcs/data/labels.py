"""The one table of expression classes: which index means which expression in which dataset.

Datasets number the same expressions differently, so conversions go by canonical name, never by number.
"""

from __future__ import annotations

from collections.abc import Sequence

CANONICAL: tuple[str, ...] = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
"""The eight canonical names, in the order of AffectNet."""

_FER2013 = ("anger", "disgust", "fear", "happy", "sad", "surprise", "neutral")

CLASSES: dict[str, tuple[str, ...]] = {
    "raf_db": ("surprise", "fear", "disgust", "happy", "sad", "anger", "neutral"),
    "ferplus": ("neutral", "happy", "surprise", "sad", "anger", "disgust", "fear", "contempt"),
    "fer2013": _FER2013,
    "expw": _FER2013,
    "affectnet7": CANONICAL[:7],
    "affectnet8": CANONICAL,
    "sfew": ("anger", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
    "ckplus": ("anger", "contempt", "disgust", "fear", "happy", "sad", "surprise"),
}
"""Canonical class names of each dataset, in that dataset's own 0-based index order.

RAF-DB's official list numbers from 1 (index = code - 1). `ckplus` is the alphabetical order of the 48x48 derivative,
without neutral.
"""

CODES: dict[str, dict[int, str]] = {
    **{dataset: dict(enumerate(names)) for dataset, names in CLASSES.items()},
    "raf_db": dict(enumerate(CLASSES["raf_db"], start=1)),
    "affectnet": dict(enumerate((*CANONICAL, "none", "uncertain", "no face"))),
    "ckplus_sequences": dict(
        enumerate(("neutral", "anger", "contempt", "disgust", "fear", "happy", "sad", "surprise"))
    ),
    "ckplus_pixels": dict(enumerate((*_FER2013, "contempt"))),
}
"""What the numbers in each dataset's own files mean.

RAF-DB's official list counts from 1. AffectNet's annotations hold three codes that are no expression. CK+ numbers three
ways: its own sequences, the 48x48 derivative (`ckplus`), and the table of pixels in the form of FER2013.
"""

_ALIASES: dict[str, tuple[str, ...]] = {
    "neutral": ("neutrality", "calm"),
    "happy": ("happiness", "joy", "joyful"),
    "sad": ("sadness",),
    "surprise": ("surprised",),
    "fear": ("fearful", "afraid", "scared"),
    "disgust": ("disgusted",),
    "anger": ("angry",),
    "contempt": ("contemptuous",),
}
_CANONICAL_OF = {alias: name for name, aliases in _ALIASES.items() for alias in aliases}


def canonical(name: str) -> str:
    """Returns the canonical name of an expression class.

    Args:
        name: Class name in any case; common synonyms ("happiness", "angry", "afraid") are known.

    Returns:
        One of the eight canonical names or, for a class outside the table, the name itself in lower case without
        surrounding space: users may have classes of their own.

    Example:
        >>> canonical("Happiness"), canonical(" Angry "), canonical("Boredom")
        ('happy', 'anger', 'boredom')
    """
    key = name.strip().lower()
    return _CANONICAL_OF.get(key, key)


def class_indices(source: Sequence[str], target: Sequence[str]) -> list[int | None]:
    """Translates the class indices of one dataset into those of another, by name.

    Args:
        source: Class names to translate, in index order.
        target: Class names to translate to, in index order.

    Returns:
        For each source class its index in `target`, or None where `target` lacks it.

    Example:
        >>> class_indices(["Neutral", "Contempt", "Happiness"], CLASSES["raf_db"])
        [6, None, 3]
    """
    index = {canonical(name): i for i, name in enumerate(target)}
    return [index.get(canonical(name)) for name in source]
