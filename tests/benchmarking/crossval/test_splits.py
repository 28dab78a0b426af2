"""The committed splits are those of this library and of the scikit-learn that is installed."""

from __future__ import annotations

import json

from benchmarks.crossval.splits import FILE, rows


def test_the_committed_splits_are_made_again_and_equal_those_of_scikit_learn() -> None:
    found = list(rows())
    assert json.loads(FILE.read_text(encoding="utf-8")) == found
    assert len(found) == 110 and all(row["equal"] and row["qcs"] == row["scikit-learn"] for row in found)
