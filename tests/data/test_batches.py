"""Augmented batches: their seeds, and that neither workers nor resuming change what a run sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from qcs.data import Augmentation, LabeledImages
from qcs.data.batches import SeededBatches, TrainingImages, training_batches
from qcs.samplers import PairSampler

CONFIG: dict[str, Any] = dict(input_size=(1, 16, 16), mean=(0.5,), std=(0.5,), interpolation="bilinear")
AUGMENTATION = Augmentation(resize=18, rotation=10)


def arrays(count: int = 24) -> LabeledImages:
    images = np.random.default_rng(0).integers(0, 256, (count, 16, 16), dtype=np.uint8)
    return LabeledImages(images, np.arange(count) % 3, ["a", "b", "c"])


def files(folder: Path) -> LabeledImages:
    stored = arrays()
    for index in range(len(stored)):
        stored.image(index).save(folder / f"{index}.png")
    paths = [folder / f"{index}.png" for index in range(len(stored))]
    return LabeledImages(paths, stored.labels, stored.classes)


def load(images: LabeledImages, first: int = 0, workers: int = 0, epoch: int = 1) -> list[tuple[Tensor, Tensor]]:
    sampler = PairSampler(images.labels, 4, seed=7)
    sampler.load_state_dict({"epoch": epoch, "batch": first})
    return list(training_batches(images, sampler, CONFIG, AUGMENTATION, seed=7, workers=workers))


def same(left: list[tuple[Tensor, Tensor]], right: list[tuple[Tensor, Tensor]]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize("kind", ["arrays", "files"])
def test_batches_do_not_depend_on_workers_nor_on_where_the_epoch_was_resumed(kind: str, tmp_path: Path) -> None:
    images = arrays() if kind == "arrays" else files(tmp_path)
    whole = load(images)
    assert len(whole) == 6
    assert [x.shape for x in whole[0]] == [(8, 1, 16, 16), (8,)]
    torch.rand(3)  # the global generator is not what decides
    assert same(whole, load(images, workers=2))
    assert same(whole[4:], load(images, first=4))
    assert not same(whole, load(images, epoch=2))


def test_loading_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    for images in (arrays(), files(tmp_path)):
        torch.manual_seed(3)
        expected = torch.rand(2)
        torch.manual_seed(3)
        load(images)
        assert torch.equal(torch.rand(2), expected)


def test_every_batch_rank_epoch_and_run_has_a_seed_of_its_own() -> None:
    labels = arrays().labels
    seeds = [
        batch.seed
        for seed in (0, 1)
        for rank in (0, 1)
        for epoch in (1, 2)
        for batch in SeededBatches(_at(PairSampler(labels, 4, seed=seed, rank=rank, world_size=2), epoch), seed)
    ]
    assert len(seeds) == len(set(seeds)) == 2 * 2 * 2 * 3


def _at(sampler: PairSampler, epoch: int) -> PairSampler:
    sampler.set_epoch(epoch)
    return sampler


def test_images_of_several_sizes_are_augmented_one_by_one() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (side, side), dtype=np.uint8) for side in (16, 20, 30)]
    mixed = TrainingImages(LabeledImages(images, [0, 1, 1], ["a", "b"]), CONFIG, AUGMENTATION)
    assert mixed.at_once is None and TrainingImages(arrays(), CONFIG, AUGMENTATION).at_once is not None
    with Image.new("L", (16, 16)) as gray:
        assert mixed.one_by_one(gray).shape == (1, 16, 16)


def test_images_with_boxes_are_cropped_one_by_one_as_in_evaluation() -> None:
    stored = arrays()
    boxes = np.tile(np.array([2, 2, 12, 12]), (len(stored), 1))
    boxed = LabeledImages(stored.images, stored.labels, stored.classes, boxes=boxes)
    assert TrainingImages(boxed, CONFIG, AUGMENTATION).at_once is None
