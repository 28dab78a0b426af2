"""Sets of labels cover as often as they state, on images drawn like those of the calibration; errors stay rare."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from qcs.engine.conformal import label_sets, risk_thresholds, set_thresholds
from qcs.models.calibration import COVERAGES, fit_scaling

CLASSES = 5


def drawn(generator: np.random.Generator, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of an overconfident network, and labels from the true distribution."""
    logits = generator.normal(size=(images, CLASSES)) * 1.5
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([generator.choice(CLASSES, p=row) for row in true])
    sharp = np.exp(3 * logits)
    return sharp / sharp.sum(1, keepdims=True), labels


@pytest.mark.parametrize("images", [19, 200])
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_sets_cover_new_images_as_often_as_stated(images: int, coverage: float) -> None:
    generator, trials, new = np.random.default_rng(0), 150, 40
    covered = []
    for _ in range(trials):
        probabilities, labels = drawn(generator, images + new)
        (threshold,) = set_thresholds(probabilities[:images], labels[:images], [coverage])
        held = probabilities[images:] >= threshold
        covered.append(held[np.arange(new), labels[images:]].mean())
    error = 3 * np.std(covered) / trials**0.5
    assert coverage - error <= np.mean(covered) <= coverage + 1 / (images + 1) + error


def test_a_temperature_fitted_on_the_same_images_changes_the_coverage_little() -> None:
    generator, covered = np.random.default_rng(1), []
    for _ in range(60):
        probabilities, labels = drawn(generator, 440)
        logits = torch.tensor(np.log(probabilities))
        scaling = fit_scaling(logits[:400], torch.nn.functional.one_hot(torch.tensor(labels[:400]), CLASSES))
        shown = scaling(logits).softmax(-1).numpy()
        (threshold,) = set_thresholds(shown[:400], labels[:400], [0.9])
        covered.append((shown[400:] >= threshold)[np.arange(40), labels[400:]].mean())
    assert np.mean(covered) == pytest.approx(0.9, abs=3 * np.std(covered) / 60**0.5 + 1 / 401)


def test_too_few_images_give_the_set_of_all_classes() -> None:
    probabilities, labels = drawn(np.random.default_rng(0), 8)
    assert set_thresholds(probabilities, labels, [0.9]) == [0.0]
    assert label_sets(probabilities, 0.0).all()


def test_sets_grow_with_the_coverage_and_always_hold_the_most_probable_label() -> None:
    probabilities, labels = drawn(np.random.default_rng(0), 300)
    thresholds = set_thresholds(probabilities, labels, COVERAGES)
    assert thresholds == sorted(thresholds, reverse=True)
    sizes = [label_sets(probabilities, threshold).sum(1) for threshold in thresholds]
    assert all((smaller <= larger).all() for smaller, larger in pairwise(sizes))
    assert (label_sets(probabilities, 1.1).sum(1) == 1).all()


def test_answers_above_the_confidence_of_a_risk_are_wrong_no_more_often() -> None:
    generator, above = np.random.default_rng(0), 0
    for _ in range(100):
        confidence = generator.uniform(0.5, 1, 600)
        correct = generator.random(600) < confidence
        (least,) = risk_thresholds(confidence, correct, [0.1])
        # With this confidence the mean of what is accepted is the middle between it and 1.
        above += least is not None and 1 - (least + 1) / 2 > 0.1
    assert above <= 5


def test_a_risk_that_no_confidence_keeps_has_none() -> None:
    wrong = np.zeros(100, bool)
    assert risk_thresholds(np.full(100, 0.95), wrong, [0.05, 0.2]) == [None, None]
    assert risk_thresholds(np.full(10, 0.95), ~wrong[:10], [0.2]) == [None]  # too few
