"""Load the images of a training run and make batches of them, to train on and to evaluate."""

from __future__ import annotations

import dataclasses
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from accelerate import Accelerator
from torch.utils.data import DataLoader

from qcs.data import Augmentation, hold_out, read
from qcs.data.batches import training_batches
from qcs.data.dataset import LabeledImages
from qcs.data.published_augmentation import PublishedAugmentation, published_augmentation
from qcs.data.votes import DEFAULT
from qcs.engine.eval_data import BATCH_SIZE, evaluation_batches
from qcs.engine.face_crop import crop_of_images
from qcs.engine.training.config import TrainConfig
from qcs.engine.training.loader_processes import check_shared_memory
from qcs.errors import InputError
from qcs.models import Classifier
from qcs.samplers import ImageSampler, PairSampler, QuadrupletSampler
from qcs.samplers.branch_sampler import BranchSampler

T = TypeVar("T")
Batches = DataLoader[tuple[Any, int]]  # batches of images (B, C, H, W) and labels (B,)


@dataclass(frozen=True)
class Sources:
    """Images to train on, to choose the best epoch on, and to test the best weights on.

    Attributes:
        train: Training images.
        validation: Images that the best epoch is chosen on.
        test: Images that only the best weights are evaluated on, once; None if the data has none.
        selection: Where the validation images come from, as one line of text.
    """

    train: LabeledImages
    validation: LabeledImages
    test: LabeledImages | None
    selection: str

    def with_classes(self, classes: tuple[str, ...]) -> Sources:
        """Return the same images with another class order."""
        test = self.test and self.test.with_classes(classes)
        return Sources(self.train.with_classes(classes), self.validation.with_classes(classes), test, self.selection)

    def summary(self) -> dict[str, dict[str, int]]:
        """Return the number of images per class of every set."""
        sets = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: images.class_counts() for name, images in sets.items() if images is not None}


def sources(config: TrainConfig, splits: Mapping[str, LabeledImages] | None = None) -> Sources:
    """Return the images of a run, from `config.data` or from `splits` in memory.

    Without a validation split, a fraction of the training images is held out per class: the best epoch is never chosen
    on test images.

    Raises:
        InputError: If the data cannot be read or has no training images, or a vote rule is given for images in memory.
    """
    if splits is not None and config.votes is not None:
        raise InputError(f"images in memory have labels, not votes; leave out votes={config.votes!r}")
    found = dict(splits) if splits is not None else _read(config)
    train = found["train"] if "train" in found else found.get("all")
    if train is None:
        raise InputError(f"{config.data} has no training images; it has the splits {', '.join(found)}")
    if config.soft_labels and train.soft is None:
        raise InputError(
            f"{config.data} gives no soft targets with votes={config.votes or DEFAULT!r}; for data with votes choose "
            "votes 'probability' or 'multi_target', for other data leave out soft_labels"
        )
    present = [name for name, count in train.class_counts().items() if count]
    if len(present) < 2:
        raise InputError(f"{config.data} has training images of one class only, {present[0]}; expected at least two")
    validation = found.get("validation")
    selection = "the validation split of the data"
    if validation is None:
        train, validation = hold_out(train, config.validation_fraction, config.seed)
        selection = f"{config.validation_fraction:.0%} of the training images, held out per class"
    return Sources(train, validation, found.get("test"), selection)


def _read(config: TrainConfig) -> dict[str, LabeledImages]:
    """The splits; only training images get labels by another rule than the official majority."""
    found = dict(read(config.data, config.image_root, format=config.data_format, votes=config.votes))
    if config.votes not in (None, DEFAULT):
        official = read(config.data, config.image_root, format=config.data_format)
        found |= {name: official[name] for name in ("validation", "test") if name in official}
    return found


def with_crop(config: TrainConfig, images: LabeledImages) -> TrainConfig:
    """Return the settings with the crop that the images are known to have; warn if they name another one."""
    found = crop_of_images(images)
    if config.crop is None:
        return dataclasses.replace(config, crop=found)
    if found not in (None, config.crop):
        warnings.warn(
            f"the log of their alignment says that the faces of {config.data} have the crop {found}; the weights will "
            f"name the crop {config.crop}",
            stacklevel=2,
        )
    return config


def branch_sampler(
    config: TrainConfig, images: LabeledImages, branches: int, accelerator: Accelerator
) -> BranchSampler:
    """Return the sampler that draws the images of this process's batches.

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
    images: LabeledImages,
    sampler: BranchSampler,
    data_config: Mapping[str, Any],
    accelerator: Accelerator,
) -> Batches:
    """Return batches of augmented images in the order of the sampler."""
    augmentation: Augmentation | PublishedAugmentation = Augmentation(
        resize=config.resize,
        rotation=config.rotation,
        scale=config.scale,
        stretch=config.stretch,
        low_light=config.low_light,
        blur=config.blur,
        noise=config.noise,
        erasing=config.erasing,
        color_jitter=config.color_jitter,
    )
    if config.augmentation is not None:
        augmentation = published_augmentation(config.augmentation)
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
    config: TrainConfig, images: LabeledImages, data_config: Mapping[str, Any], accelerator: Accelerator
) -> Batches:
    """Return batches of this process's part of the images; every image is in the part of one process."""
    rank, world_size = accelerator.process_index, accelerator.num_processes
    return evaluation_batches(images, data_config, workers=config.workers, rank=rank, world_size=world_size)


def check_loaders(config: TrainConfig, data: Sources, model: Classifier, accelerator: Accelerator) -> None:
    """Check that the batches which loader processes prepare fit into shared memory, at their largest.

    Raises:
        InputError: If they do not fit.
    """
    channels, *sides = model.pretrained_cfg["input_size"]
    training = config.anchors_per_step(model.branches) * model.branches
    evaluated = max(len(images) for images in (data.validation, data.test) if images is not None)
    pixels = channels * math.prod(sides)
    largest = max(training, min(BATCH_SIZE, -(-evaluated // accelerator.num_processes))) * pixels * 4  # float32
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # of torchrun
    check_shared_memory(config.workers, largest, local)


def in_groups(batches: Iterator[T], size: int) -> Iterator[list[T]]:
    """Yield the batches of one optimizer step after another; the last group may be smaller."""
    while group := list(islice(batches, size)):
        yield group
