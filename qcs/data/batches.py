"""Load batches of augmented training images; each batch has a seed of its own.

A run therefore sees the same images with any number of loader processes, and a run resumed in mid-epoch sees the same
images as without the interruption.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from qcs.data.batched_augmentation import BatchedAugmentation
from qcs.data.dataset import LabeledImages
from qcs.data.loader_signals import leave_signals_to_main_process
from qcs.data.published_augmentation import PublishedAugmentation
from qcs.data.transforms import Augmentation, train_transform
from qcs.samplers.branch_sampler import BranchSampler


class SeededBatch(NamedTuple):
    """Indices of the images of a batch, and the seed of their augmentation."""

    seed: int
    indices: list[int]


class SeededBatches(Sampler[SeededBatch]):
    """Add a seed to every batch of a sampler, which depends only on seed, epoch, batch and rank.

    Args:
        sampler: Sampler of lists of indices.
        seed: Seed of the run.
    """

    def __init__(self, sampler: BranchSampler, seed: int) -> None:
        self.sampler, self.seed = sampler, seed

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[SeededBatch]:
        """Yield the remaining batches of the epoch."""
        for indices in self.sampler:
            place = self.seed, self.sampler.epoch, self.sampler.state_dict()["batch"], self.sampler.rank
            yield SeededBatch(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0]) >> 1, indices)


class TrainingImages(Dataset[Any]):
    """Augment whole batches: pixel arrays of one size at once, other images one by one.

    Args:
        images: The images; their own transform is not used.
        data_config: As for `train_transform`.
        augmentation: Settings of the random changes.
        soft_labels: Return soft targets, which the images must have, instead of labels.
    """

    def __init__(
        self,
        images: LabeledImages,
        data_config: Mapping[str, Any],
        augmentation: Augmentation | PublishedAugmentation,
        soft_labels: bool = False,
    ) -> None:
        self.images = images
        self.labels = torch.from_numpy(images.soft if soft_labels and images.soft is not None else images.labels)
        shapes = {None if isinstance(image, str) else image.shape for image in images.images}
        stackable = len(shapes) == 1 and None not in shapes and images.boxes is None
        self.at_once: BatchedAugmentation | None = None
        if isinstance(augmentation, PublishedAugmentation):
            self.one_by_one = augmentation.transform(data_config)
        else:
            self.one_by_one = train_transform(data_config, augmentation)
            self.at_once = BatchedAugmentation(data_config, augmentation) if stackable else None

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, batch: SeededBatch) -> tuple[Tensor, Tensor]:
        """Return images (B, C, H, W) and labels (B,), or soft targets (B, classes), of a batch."""
        labels = self.labels[batch.indices]
        if self.at_once is not None:
            pixels = np.stack([self.images.images[index] for index in batch.indices])
            return self.at_once(pixels, torch.Generator().manual_seed(batch.seed)), labels
        with _seeded(batch.seed):
            return torch.stack([self.one_by_one(self.images.image(index)) for index in batch.indices]), labels


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators for a batch: torchvision draws from that of torch, timm from the other two."""
    own, shared = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(own)
            np.random.set_state(shared)


def training_batches(
    images: LabeledImages,
    sampler: BranchSampler,
    data_config: Mapping[str, Any],
    augmentation: Augmentation | PublishedAugmentation,
    *,
    seed: int,
    soft_labels: bool = False,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """Return a loader of augmented batches in the order of the sampler.

    Args:
        images: The training images.
        sampler: Sampler of the batches.
        data_config: The result of `timm.data.resolve_model_data_config(model)`.
        augmentation: Settings of the random changes.
        seed: Seed of the augmentation, together with epoch and batch.
        soft_labels: Return soft targets instead of labels.
        workers: Number of loader processes; 0 loads in the main process. The images do not depend on it.
        pin_memory: Whether to load into pinned memory, from which a GPU copies faster.

    Returns:
        A loader of pairs: images (branches * B, C, H, W) and labels (branches * B,) or soft targets
        (branches * B, classes).
    """
    batches: Any = SeededBatches(sampler, seed)  # DataLoader is annotated to take lists of indices only
    return DataLoader(
        TrainingImages(images, data_config, augmentation, soft_labels),
        batch_sampler=batches,
        collate_fn=_unchanged,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # otherwise every epoch would draw from the global generator
        worker_init_fn=leave_signals_to_main_process,
    )


def _unchanged(batch: Any) -> Any:
    return batch
