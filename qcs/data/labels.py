"""Define the expression classes of every dataset and convert between their orders.

Datasets number the same expressions differently, so all conversions use canonical names, never numbers.
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
"""Class name of each label code in the files of a dataset.

The official list of RAF-DB counts from 1. The annotations of AffectNet have three codes that are not expressions. CK+
has three numberings: its own sequences, the 48x48 derivative (`ckplus`), and the pixel table in the layout of FER2013.
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
    """Return the canonical name of an expression class.

    Args:
        name: Class name in any case; common synonyms ("happiness", "angry", "afraid") are known.

    Returns:
        One of the eight canonical names or, for any other class, the name itself in lower case without surrounding
        space.

    Example:
        >>> canonical("Happiness"), canonical(" Angry "), canonical("Boredom")
        ('happy', 'anger', 'boredom')
    """
    key = name.strip().lower()
    return _CANONICAL_OF.get(key, key)


def class_indices(source: Sequence[str], target: Sequence[str]) -> list[int | None]:
    """Map the class indices of one dataset to those of another, by name.

    Args:
        source: Class names to map from, in index order.
        target: Class names to map to, in index order.

    Returns:
        The index in `target` of each source class, or None if `target` lacks it.

    Example:
        >>> class_indices(["Neutral", "Contempt", "Happiness"], CLASSES["raf_db"])
        [6, None, 3]
    """
    index = {canonical(name): i for i, name in enumerate(target)}
    return [index.get(canonical(name)) for name in source]
