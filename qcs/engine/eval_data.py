"""Load labeled images to evaluate a trained network on; classes are matched by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch.utils.data import DataLoader

from qcs.data import eval_transform, merge, read
from qcs.data.dataset import LabeledImages
from qcs.data.loader_signals import leave_signals_to_main_process
from qcs.data.readers import SPLITS
from qcs.errors import InputError, check_choice
from qcs.models import Classifier

BATCH_SIZE = 256


def evaluation_batches(
    images: LabeledImages, data_config: Mapping[str, Any], *, workers: int = 0, rank: int = 0, world_size: int = 1
) -> DataLoader[tuple[Any, int]]:
    """Return batches of images to evaluate a network on, in the order of the data.

    Args:
        images: The images.
        data_config: Preprocessing of the network, see `timm.data.resolve_model_data_config`.
        workers: Processes that load images; 0 loads in the main process.
        rank: Number of this process.
        world_size: Number of processes; each evaluates every `world_size`-th image, starting with that of its rank.

    Returns:
        Batches of images (B, C, H, W) and labels (B,), B being 256 or, in the last batch, less.
    """
    part = images.subset(list(range(rank, len(images), world_size)))
    prepared = part.with_transform(eval_transform(data_config))
    return DataLoader(prepared, BATCH_SIZE, num_workers=workers, worker_init_fn=leave_signals_to_main_process)


class EvaluationSet(NamedTuple):
    """Images to evaluate a network on, labeled in the order of its classes.

    Attributes:
        split: Name of the split, or `"all"`.
        images: The images whose class the network knows.
        note: How many images were left out and why; empty if none was.
    """

    split: str
    images: LabeledImages
    note: str


def evaluation_set(
    model: Classifier,
    data: str,
    split: str = "test",
    image_root: str | None = None,
    data_format: str | None = None,
    votes: str | None = None,
) -> EvaluationSet:
    """Load a split of a dataset to evaluate a network on; classes are matched by name.

    Args:
        model: The network.
        data: Archive, folder or list file, see `qcs.data.read`.
        split: `"train"`, `"validation"`, `"test"` or `"all"`; data without splits is used whole.
        image_root: Folder that the paths of a list file are relative to.
        data_format: Format of the data; None detects it.
        votes: Vote rule, for data with votes; None is the majority.

    Raises:
        InputError: If the data cannot be read, has no such split, or shares no class with the network.
    """
    check_choice("split", split, (*SPLITS, "all"))
    split, images = _choose(_read(data, image_root, data_format, model, votes), split, data)
    known = images.with_classes(model.class_names)
    note = (
        f"left out {len(images) - len(known):,} of {len(images):,} images: their classes are not among those of the "
        f"network, {', '.join(model.class_names)}"
    )
    return EvaluationSet(split, known, note if len(known) < len(images) else "")


def _read(
    data: str, image_root: str | None, data_format: str | None, model: Classifier, votes: str | None
) -> dict[str, LabeledImages]:
    """Read the data; labels that are numbers without names are indices of the network's classes."""
    try:
        splits = read(data, image_root, format=data_format, votes=votes)
    except InputError:
        if votes is None:
            raise
        splits = read(data, image_root, format=data_format)  # it has no votes, or this says what else is wrong
    nameless = all(name.isdecimal() for name in next(iter(splits.values())).classes)
    return read(data, image_root, model.class_names, format=data_format) if nameless else splits


def _choose(splits: dict[str, LabeledImages], name: str, data: str) -> tuple[str, LabeledImages]:
    """Return the split of that name, or all images if all are wanted or the data has no splits."""
    if name == "all" or list(splits) == ["all"]:
        return "all", merge(splits)
    if name not in splits:
        raise InputError(f"{data} has no {name} split; it has {', '.join(splits)}; choose with --split, or 'all'")
    return name, splits[name]
