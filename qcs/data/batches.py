"""Batches of augmented training images whose randomness belongs to the batch, not to the process that loads it.

Every batch is augmented from a seed of its own. The same run therefore sees the same images with any number of loading
processes, and a run resumed in mid-epoch sees those that it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from qcs.data.batched_augmentation import BatchedAugmentation
from qcs.data.dataset import LabeledImages
from qcs.data.transforms import Augmentation, train_transform
from qcs.samplers.branch_sampler import BranchSampler


class SeededBatch(NamedTuple):
    """Which images to load, and the seed of their augmentation."""

    seed: int
    indices: list[int]


class SeededBatches(Sampler[SeededBatch]):
    """Gives every batch of a sampler a seed that depends on seed, epoch, batch and rank alone.

    Args:
        sampler: Yields lists of indices.
        seed: The run's seed.
    """

    def __init__(self, sampler: BranchSampler, seed: int) -> None:
        self.sampler, self.seed = sampler, seed

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[SeededBatch]:
        """The rest of the epoch, from where the sampler stands."""
        for indices in self.sampler:
            place = self.seed, self.sampler.epoch, self.sampler.state_dict()["batch"], self.sampler.rank
            yield SeededBatch(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> 1), indices)


class TrainingImages(Dataset[Any]):
    """Augments whole batches: pixel arrays of one size at once, anything else image by image.

    Args:
        images: The images; a transform of theirs is not used.
        data_config: As for `train_transform`.
        augmentation: The random changes.
        soft_labels: Give the target of every class, which the images must have, instead of the label.
    """

    def __init__(
        self,
        images: LabeledImages,
        data_config: Mapping[str, Any],
        augmentation: Augmentation,
        soft_labels: bool = False,
    ) -> None:
        self.images = images
        self.labels = torch.from_numpy(images.soft if soft_labels and images.soft is not None else images.labels)
        shapes = {None if isinstance(image, str) else image.shape for image in images.images}
        stackable = len(shapes) == 1 and None not in shapes and images.boxes is None
        self.at_once = BatchedAugmentation(data_config, augmentation) if stackable else None
        self.one_by_one = train_transform(data_config, augmentation)

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, batch: SeededBatch) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) and labels (B,), or targets (B, classes), of a batch."""
        labels = self.labels[batch.indices]
        if self.at_once is not None:
            pixels = np.stack([self.images.images[index] for index in batch.indices])
            return self.at_once(pixels, torch.Generator().manual_seed(batch.seed)), labels
        with torch.random.fork_rng(devices=[]):  # torchvision's transforms draw from the global generator
            torch.default_generator.manual_seed(batch.seed)  # and no other device's
            return torch.stack([self.one_by_one(self.images.image(index)) for index in batch.indices]), labels


def training_batches(
    images: LabeledImages,
    sampler: BranchSampler,
    data_config: Mapping[str, Any],
    augmentation: Augmentation,
    *,
    seed: int,
    soft_labels: bool = False,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """Loads augmented batches in the sampler's order.

    Args:
        images: The training images.
        sampler: Which of them come together.
        data_config: What `timm.data.resolve_model_data_config(model)` returns.
        augmentation: The random changes.
        seed: Decides the augmentation, together with epoch and batch.
        soft_labels: Give the target of every class instead of the label.
        workers: Processes that load images; 0 loads in the main process. The images do not depend on it.
        pin_memory: Whether to load into memory from which a GPU copies faster.

    Returns:
        A loader of pairs: images (branches * B, C, H, W) and labels (branches * B,) or targets (branches * B, classes).
    """
    batches: Any = SeededBatches(sampler, seed)  # not the lists that the loader is declared to take
    return DataLoader(
        TrainingImages(images, data_config, augmentation, soft_labels),
        batch_sampler=batches,
        collate_fn=_as_it_is,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # else every epoch would draw a number from the global one
    )


def _as_it_is(batch: Any) -> Any:
    return batch
