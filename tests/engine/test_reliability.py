"""Calibration error, Brier score and likelihood, against values by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from made_up import predictions

from qcs.engine.reliability import probability_scores, reliability, risk_coverage

SOME = [0, 1, 1, 0, 0, 2]  # the third and the fifth are wrong


def test_scores_are_those_computed_by_hand() -> None:
    logits = torch.tensor([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]]).log() + 5  # a constant changes no probability
    scores = probability_scores(logits, torch.tensor([0, 1]))
    assert scores.brier == pytest.approx(((0.3**2 + 0.2**2 + 0.1**2) + (0.7**2 + 0.8**2 + 0.1**2)) / 2)
    assert scores.nll == pytest.approx(-(math.log(0.7) + math.log(0.2)) / 2)
    assert scores.ece == pytest.approx(0.7 - 1 / 2)


def test_calibration_by_hand() -> None:
    found = reliability(predictions(SOME, confidence=0.9))
    assert found.error == pytest.approx(0.9 - 4 / 6, abs=1e-6)
    bin_of_90 = int(0.9 * 15)
    assert found.counts.tolist() == [6 if place == bin_of_90 else 0 for place in range(15)]
    assert found.confidence[bin_of_90] == pytest.approx(0.9)
    assert found.accuracy[bin_of_90] == pytest.approx(4 / 6)
    assert np.isnan(found.accuracy).sum() == 14


def test_the_bins_drawn_are_those_that_the_error_is_summed_over() -> None:
    rng = np.random.default_rng(0)
    shown = predictions([0] * 300)
    shown.probabilities[:] = rng.dirichlet(np.ones(3), 300)
    found = reliability(shown)
    held = found.counts > 0
    gaps = np.abs(found.accuracy - found.confidence)[held]
    assert found.error == pytest.approx((gaps * found.counts[held]).sum() / 300, abs=1e-5)


def test_risk_by_coverage_by_hand() -> None:
    found = risk_coverage(np.array([0.9, 0.5, 0.8, 0.7]), np.array([True, False, False, True]))
    assert found.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert found.risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert found.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
