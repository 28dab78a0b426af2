"""Write the published splits of the six data sets beside those of scikit-learn: `python -m benchmarks.crossval.splits`.

For each repeat: the size, the first ten and the last ten indices of each set, once from `qcs.crossval.published_split`
and once from scikit-learn, called as the published scripts call it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import ShuffleSplit, train_test_split

from qcs.crossval import PUBLISHED_SIZES, Split, published_split
from qcs.crossval.published import REPEATS, SEED, Variant
from qcs.files import write_text

FILE = Path(__file__).parent / "splits.json"
SETS: dict[Variant, tuple[str, ...]] = {
    "common": tuple(PUBLISHED_SIZES),
    "integer": ("ferplus", "expw", "sfew", "ckplus"),  # DAN
    "64-16-20": ("raf_db",),  # DDAMFN and Ada-DF
}
SHOWN = 10


def of_scikit_learn(images: int, variant: Variant) -> Iterator[Split]:
    """Yield the splits by scikit-learn, as the published scripts make them."""
    integer = int(0.2 * images)
    splitter = ShuffleSplit(REPEATS, test_size=integer if variant == "integer" else 0.2, random_state=SEED)
    for repeat, (rest, test) in enumerate(splitter.split(np.zeros(images))):
        if variant == "integer":
            yield Split(rest[:-integer], rest[-integer:], test)
            continue
        fraction = 0.25 if variant == "common" else 0.2
        train, validation = train_test_split(rest, test_size=fraction, random_state=repeat)
        yield Split(train, validation, test)


def rows() -> Iterator[dict[str, Any]]:
    """Yield each repeat of each data set, with both splits in short, and whether they are equal throughout."""
    for variant, names in SETS.items():
        for name in names:
            for repeat, other in enumerate(of_scikit_learn(PUBLISHED_SIZES[name], variant)):
                own = published_split(PUBLISHED_SIZES[name], repeat, variant)
                yield {
                    "data": name,
                    "variant": variant,
                    "repeat": repeat,
                    "qcs": short(own),
                    "scikit-learn": short(other),
                    "equal": all(map(np.array_equal, own, other)),
                }


def short(split: Split) -> dict[str, list[Any]]:
    """Return size, first and last indices of each set.

    Example:
        >>> short(published_split(40, 0))["test"]
        [8, [19, 16, 15, 26, 4, 12, 37, 24], [19, 16, 15, 26, 4, 12, 37, 24]]
    """
    return {name: [len(part), part[:SHOWN].tolist(), part[-SHOWN:].tolist()] for name, part in split._asdict().items()}


def main() -> None:
    """Write the file, one repeat a line, and print what differs."""
    found = list(rows())
    lines = ",\n".join(json.dumps(row) for row in found)
    write_text(FILE, f"[\n{lines}\n]\n")
    equal = sum(row["equal"] for row in found)
    print(f"{equal} of {len(found)} splits are equal to those of scikit-learn; wrote {FILE}")


if __name__ == "__main__":
    main()
