from __future__ import annotations

import numpy as np
import pytest

from qcs.samplers import PairSampler

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [5, 4, 3]))


def test_positives_are_uniform_over_the_other_images_of_the_class() -> None:
    epochs = 3000
    sampler = PairSampler(LABELS, 12)
    seen = np.zeros((12, 12))
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        batch = next(iter(sampler))
        np.add.at(seen, (batch[:12], batch[12:]), 1)
    allowed = np.equal.outer(LABELS, LABELS) & ~np.eye(12, dtype=bool)
    assert not seen[~allowed].any()
    expected = (epochs / np.broadcast_to(allowed.sum(1, keepdims=True), (12, 12)))[allowed]
    statistic = ((seen[allowed] - expected) ** 2 / expected).sum()
    freedom = allowed.sum() - 12
    assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)


@pytest.mark.filterwarnings("ignore:PairSampler")
def test_the_only_image_of_a_class_is_its_own_positive() -> None:
    batch = next(iter(PairSampler(["sad", "fear", "sad"], 3)))
    pairs = dict(zip(batch[:3], batch[3:], strict=True))
    assert pairs == {0: 2, 1: 1, 2: 0}


def test_one_class_is_enough() -> None:
    a, b, p, q = next(iter(PairSampler([4, 4], 2)))
    assert (p, q) == (b, a)
