from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qcs.errors import InputError
from qcs.samplers import QuadrupletSampler

SIZES = np.array([8, 4, 2])
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], SIZES))
AFFECTNET_SIZES = [74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750]  # its eight training classes


def many_quadruplets(negatives: Any, epochs: int) -> np.ndarray:
    """Quadruplets of several epochs, (4, M)."""
    sampler = QuadrupletSampler(LABELS, len(LABELS), negatives=negatives)
    batches = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        batches.append(np.reshape(next(iter(sampler)), (4, -1)))
    return np.concatenate(batches, axis=1)


def chi_square_is_plausible(first: np.ndarray, second: np.ndarray, probability: np.ndarray) -> bool:
    """Whether `second` given `first` follows the probabilities of that row, within five sd, and never leaves them."""
    seen = np.zeros(probability.shape)
    np.add.at(seen, (first, second), 1)
    allowed = probability > 0
    expected = (seen.sum(1, keepdims=True) * probability)[allowed]
    freedom = allowed.sum() - len(probability)
    statistic = ((seen[allowed] - expected) ** 2 / expected).sum()
    return not seen[~allowed].any() and bool(abs(statistic - freedom) < 5 * np.sqrt(2 * freedom))


def test_a_batch_holds_blocks_of_anchors_positives_and_two_negatives() -> None:
    labels = np.arange(60) % 3
    for batch in QuadrupletSampler(labels, 10):
        a, p, n, n2 = np.reshape(batch, (4, 10))
        assert (labels[a] == labels[p]).all()
        assert (labels[n] == labels[n2]).all()
        assert (labels[a] != labels[n]).all()
        assert (a != p).all()
        assert (n != n2).all()


def test_negatives_by_image_are_uniform_over_all_images_of_other_classes() -> None:
    a, _, n, _ = many_quadruplets("image", epochs=3000)
    other = np.not_equal.outer(LABELS, LABELS)
    assert chi_square_is_plausible(a, n, other / other.sum(1, keepdims=True))


def test_negatives_by_class_are_uniform_over_classes_and_then_images() -> None:
    a, _, n, _ = many_quadruplets("class", epochs=3000)
    other = np.not_equal.outer(LABELS, LABELS)
    assert chi_square_is_plausible(a, n, other / 2 / SIZES[LABELS])


@pytest.mark.parametrize("negatives", ["image", "class"])
def test_second_images_are_uniform_over_the_rest_of_their_class(negatives: str) -> None:
    a, p, n, n2 = many_quadruplets(negatives, epochs=3000)
    mate = np.equal.outer(LABELS, LABELS) & ~np.eye(len(LABELS), dtype=bool)
    # An image of the class of two has one possible mate: its row of the table has no freedom, and must match exactly.
    assert chi_square_is_plausible(a, p, mate / mate.sum(1, keepdims=True))
    assert chi_square_is_plausible(n, n2, mate / mate.sum(1, keepdims=True))


@pytest.mark.filterwarnings("ignore:QuadrupletSampler")
def test_the_only_image_of_a_class_is_its_own_second_image() -> None:
    labels = ["sad", "fear"]
    a, p, n, n2 = next(iter(QuadrupletSampler(labels, 1)))
    assert (a, n) == (p, n2)
    assert a != n


@pytest.mark.parametrize("negatives", ["image", "class"])
def test_balanced_anchors_get_valid_partners(negatives: Any) -> None:
    labels = np.repeat(["rare", "common"], [2, 98])
    a, p, n, n2 = np.reshape(next(iter(QuadrupletSampler(labels, 100, balance="class", negatives=negatives))), (4, -1))
    assert (labels[a] == labels[p]).all()
    assert (labels[n] == labels[n2]).all()
    assert (labels[a] != labels[n]).all()
    assert 30 < (labels[a] == "rare").sum() < 70


def test_one_class_is_refused() -> None:
    with pytest.raises(InputError, match="at least two classes, got only 'sad'"):
        QuadrupletSampler(["sad", "sad"], 1)


def test_an_unknown_choice_of_negatives_is_refused() -> None:
    with pytest.raises(InputError, match="negatives must be one of image, class; got 'hard'"):
        QuadrupletSampler(LABELS, 1, negatives="hard")


def test_sampling_costs_nothing_beside_loading_images(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(8), AFFECTNET_SIZES))
    start = time.perf_counter()
    sampler = QuadrupletSampler(labels, 24, balance="class", negatives="class")
    assert time.perf_counter() - start < 1

    start = time.perf_counter()
    indices = sum(len(batch) for batch in sampler)
    per_index = (time.perf_counter() - start) / indices

    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "face.jpg")
    start = time.perf_counter()
    for _ in range(50):
        with Image.open(tmp_path / "face.jpg") as image:
            image.load()
    per_image = (time.perf_counter() - start) / 50
    assert per_index * 100 < per_image
