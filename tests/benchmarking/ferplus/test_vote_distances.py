"""Distances of distributions by hand, and halves of annotators that are halves."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.ferplus.vote_distances import NAMES, compare, distances, halves


def test_distances_are_those_computed_by_hand() -> None:
    found = distances([[0.5, 0.25, 0.25]], [[0.5, 0.5, 0.0]])
    assert found["tv"][0] == pytest.approx(0.25)
    assert found["kl"][0] == pytest.approx(0.5 * np.log(2))
    middle = (0.5, 0.375, 0.125)
    forward = 0.25 * np.log(0.25 / middle[1]) + 0.25 * np.log(0.25 / middle[2])
    backward = 0.5 * np.log(0.5 / middle[1])
    assert found["js"][0] == pytest.approx((forward + backward) / 2)


def test_a_distribution_is_at_no_distance_from_itself() -> None:
    same = np.random.default_rng(0).dirichlet(np.ones(8), 5)
    assert all(np.allclose(distances(same, same)[name], 0) for name in NAMES)


def test_halves_share_no_vote_and_lose_none() -> None:
    votes = np.random.default_rng(0).integers(0, 4, (50, 8))
    first, second = halves(votes, 1)
    assert (first >= 0).all() and (second >= 0).all() and (first + second == votes).all()
    assert (second.sum(1) - first.sum(1) == votes.sum(1) % 2).all()


def test_the_distribution_that_the_votes_were_drawn_from_beats_half_of_them() -> None:
    generator = np.random.default_rng(0)
    true = generator.dirichlet(np.ones(8), 400)
    votes = np.stack([generator.multinomial(10, row) for row in true])
    found = compare({"true": true}, votes, true.mean(0))["second half"]
    for name in NAMES:
        assert found["true"][name][0] < found["half of the annotators"][name][0]
        assert found["true"][name][0] < found["the same for every image"][name][0]
