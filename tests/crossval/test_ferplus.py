"""The splits of the real images: what the published protocol leaks, and the honest one does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcs.crossval import honest_split, published_split, read_pool
from qcs.crossval.honest import shared_with_training


@pytest.mark.slow
def test_copies_leak_by_the_published_protocol_alone(shared_data: Path) -> None:
    pool = read_pool(shared_data / "ferplus.npz")
    published, honest = published_split(len(pool), 0), honest_split(pool, 0)
    assert (len(pool), len(published.test), len(honest.test)) == (31408, 6282, 3152)
    assert shared_with_training(published, pool) == {"validation": 394, "test": 408}
    assert shared_with_training(honest, pool) == {"validation": 0, "test": 0}
