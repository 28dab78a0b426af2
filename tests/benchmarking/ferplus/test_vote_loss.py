"""Losses of vote shares against plain formulas, and temperatures that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.ferplus.vote_loss import (
    balanced_accuracy,
    cross_fitted_losses,
    fitted_temperature,
    interval,
    packed,
    unpacked,
    vote_losses,
)

RNG = np.random.default_rng(0)
SHARES = RNG.dirichlet([1, 1, 1], 60).astype(np.float32)


def test_the_loss_is_the_cross_entropy_of_the_votes() -> None:
    logits, shares = [1.0, 2.0, 0.5], [0.5, 0.25, 0.25]
    total = sum(math.exp(x / 2) for x in logits)
    expected = -sum(share * math.log(math.exp(x / 2) / total) for x, share in zip(logits, shares, strict=True))
    assert vote_losses([logits], [shares], 2.0)[0] == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(temperature: float) -> None:
    assert fitted_temperature(np.log(SHARES) * temperature, SHARES) == pytest.approx(temperature, rel=1e-3)


def test_the_temperature_of_an_image_does_not_depend_on_it() -> None:
    logits = (np.log(SHARES) * 3)[None].astype(np.float32)
    changed = SHARES.copy()
    changed[::2] = changed[::2][:, ::-1]
    before, after = (cross_fitted_losses(logits, shares) for shares in (SHARES, changed))
    even_temperature = fitted_temperature(logits[:, 1::2], SHARES[1::2])
    assert after[0, 0] == pytest.approx(vote_losses(logits[0, :1], changed[:1], even_temperature)[0])
    assert not np.allclose(before[0, 1::2], after[0, 1::2])  # theirs is fitted on the changed ones


def test_numbers_survive_packing() -> None:
    values = RNG.random(7).astype(np.float32)
    assert (unpacked(packed(values)) == values).all()


def test_every_class_counts_the_same() -> None:
    assert balanced_accuracy([1, 1, 1, 0.5], np.array([0, 0, 0, 2])) == 0.75


def test_the_interval_covers_the_mean_as_often_as_stated() -> None:
    found = [interval(RNG.normal(1, 2, 50)) for _ in range(1000)]
    covered = np.mean([abs(each["mean"] - 1) < each["margin"] for each in found])
    assert 0.92 < covered < 0.97
