"""The batches of a training run: what is trained on, in which order, and what is evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from accelerate import Accelerator
from torch.utils.data import DataLoader

from qcs.data import Augmentation, eval_transform
from qcs.data.batches import training_batches
from qcs.data.dataset import LabelledImages
from qcs.engine.config import TrainConfig
from qcs.samplers import ImageSampler, PairSampler, QuadrupletSampler
from qcs.samplers.branch_sampler import BranchSampler

T = TypeVar("T")
EVAL_BATCH = 256
Batches = DataLoader[tuple[Any, int]]  # batches of images (B, C, H, W) and labels (B,)


def branch_sampler(
    config: TrainConfig, images: LabelledImages, branches: int, accelerator: Accelerator
) -> BranchSampler:
    """Which images are compared, for this process.

    Raises:
        InputError: If the settings do not fit the images.
    """
    anchors = config.anchors_per_step(branches)
    shared: dict[str, Any] = dict(
        balance=config.balance,
        fraction=config.fraction,
        seed=config.seed,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
    )
    if branches == 4:
        return QuadrupletSampler(images.labels, anchors, negatives=config.negatives, **shared)
    return (PairSampler if branches == 2 else ImageSampler)(images.labels, anchors, **shared)


def batches_to_train(
    config: TrainConfig,
    images: LabelledImages,
    sampler: BranchSampler,
    data_config: Mapping[str, Any],
    accelerator: Accelerator,
) -> Batches:
    """Augmented batches in the sampler's order."""
    augmentation = Augmentation(
        resize=config.resize,
        rotation=config.rotation,
        scale=config.scale,
        erasing=config.erasing,
        color_jitter=config.color_jitter,
    )
    return training_batches(
        images,
        sampler,
        data_config,
        augmentation,
        seed=config.seed,
        soft_labels=config.soft_labels,
        workers=config.workers,
        pin_memory=accelerator.device.type == "cuda",
    )


def batches_to_evaluate(
    config: TrainConfig, images: LabelledImages, data_config: Mapping[str, Any], accelerator: Accelerator
) -> Batches:
    """This process's share of the images: every image is in exactly one."""
    share = range(accelerator.process_index, len(images), accelerator.num_processes)
    images = images.subset(list(share)).with_transform(eval_transform(data_config))
    return DataLoader(images, EVAL_BATCH, num_workers=config.workers)


def in_groups(batches: Iterator[T], size: int) -> Iterator[list[T]]:
    """Batches of one optimiser step each; the last group may be smaller."""
    while group := list(islice(batches, size)):
        yield group
