"""Published augmentations: shapes, what they change and how often, and that a seed decides them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qcs.data import LabeledImages
from qcs.data.batches import SeededBatch, TrainingImages, _seeded
from qcs.data.published_augmentation import NOISE, PUBLISHED, PublishedAugmentation, published_augmentation
from qcs.errors import InputError

CONFIG: dict[str, Any] = dict(input_size=(3, 28, 28), mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")


def gradient(side: int = 40) -> Image.Image:
    """An image that a flip, a shift or a turn changes."""
    row = np.linspace(60, 200, side).round().astype(np.uint8)
    return Image.fromarray(np.tile(row, (side, 1)))


def drawn(augmentation: PublishedAugmentation, count: int, image: Image.Image | None = None) -> torch.Tensor:
    with _seeded(3):
        transform = augmentation.transform(CONFIG)
        return torch.stack([transform(image or gradient()) for _ in range(count)])


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_augmentation_gives_images_of_the_network_and_the_seed_decides_them(name: str) -> None:
    first = drawn(PUBLISHED[name], 6)
    assert first.shape == (6, 3, 28, 28) and first.dtype == torch.float32 and first.isfinite().all()
    assert torch.equal(first, drawn(PUBLISHED[name], 6))
    gray = {**CONFIG, "input_size": (1, 28, 28), "mean": (0.5,), "std": (0.5,)}
    assert PUBLISHED[name].transform(gray)(gradient().convert("RGB")).shape == (1, 28, 28)


def test_resizing_alone_changes_nothing_else() -> None:
    assert (drawn(PUBLISHED["resize"], 8) == drawn(PUBLISHED["resize"], 1)).all()


def test_probabilities_are_those_that_are_stated() -> None:
    plain = drawn(PUBLISHED["resize"], 1)[0]
    images = drawn(PublishedAugmentation(flip=0.0, geometry=0.2, rotation=20.0, padding=0.1), 400)
    changed = (images != plain).flatten(1).any(1).float().mean()
    assert changed == pytest.approx(0.2, abs=0.06)
    erased = drawn(PublishedAugmentation(flip=0.0, erasing=(0.05, 0.05), erasing_probability=1.0), 200)
    shares = (erased[:, 0] == 0).flatten(1).float().mean(1)
    assert shares.min() > 0.02 and shares.mean() == pytest.approx(0.05, abs=0.01)
    noisy = drawn(PublishedAugmentation(flip=0.0, erasing=(0.1, 0.1), erasing_probability=1.0, erasing_noise=True), 50)
    assert ((noisy != plain).flatten(1).float().mean(1) > 0.05).all() and not (noisy == 0).any()


def test_the_noise_of_poster_has_the_stated_variance_and_takes_the_place_of_a_flip() -> None:
    flat = Image.new("RGB", (28, 28), (128, 128, 128))
    pixels = drawn(PublishedAugmentation(flip=0.0, flip_or_noise=1.0), 40, flat) * 127.5
    spread = pixels.flatten(1).std(1)
    assert spread[spread > 0].mean() == pytest.approx(NOISE, rel=0.03)
    assert (spread > 0).float().mean() == pytest.approx(0.5, abs=0.25)


def test_a_batch_depends_on_its_seed_and_leaves_the_generators_alone() -> None:
    images = LabeledImages(np.stack([np.array(gradient())] * 4), np.zeros(4, np.int64), ("a", "b"))
    batches = TrainingImages(images, CONFIG, PUBLISHED["ada_df"])
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    first, again, other = (batches.__getitems__(SeededBatch(seed, [0, 1, 2, 3]))[0] for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


def test_an_unknown_augmentation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"augmentation must be one of resize, dan-raf_db, .*; got 'dan'"):
        published_augmentation("dan")
