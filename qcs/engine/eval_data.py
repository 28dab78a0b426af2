"""Load labeled images to evaluate a trained network on; classes are matched by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.utils.data import DataLoader

from qcs.data import eval_transform, merge, read
from qcs.data.dataset import LabeledImages
from qcs.data.readers import SPLITS
from qcs.errors import InputError
from qcs.models import CrossSimilarityNetwork

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
    return DataLoader(part.with_transform(eval_transform(data_config)), BATCH_SIZE, num_workers=workers)


def check_split(split: str) -> None:
    """Refuse what names no split, before anything is read."""
    if split not in (*SPLITS, "all"):
        raise InputError(f"unknown split {split!r}; expected one of {', '.join(SPLITS)}, or all")


def known_images(
    model: CrossSimilarityNetwork,
    data: str,
    split: str,
    image_root: str | None,
    data_format: str | None,
    say: Callable[[str], None],
) -> tuple[str, LabeledImages]:
    """The images of a split whose classes the network knows, in its class order.

    Args:
        model: The network.
        data: As for `qcs.data.read`.
        split: One of its splits, or all; data without splits has only all.
        image_root: As for `qcs.data.read`.
        data_format: As for `qcs.data.read`.
        say: Called with a line about images left out.

    Returns:
        The name of the split, and its images.

    Raises:
        InputError: If the data cannot be read, has no such split, or shares no class with the network.
    """
    split, images = _chosen(_read(data, image_root, data_format, model), split, data)
    known = images.with_classes(model.class_names)
    if len(known) < len(images):
        say(
            f"left out {len(images) - len(known):,} of {len(images):,} images: their classes are not among those of "
            f"the network, {', '.join(model.class_names)}"
        )
    return split, known


def _read(
    data: str, image_root: str | None, data_format: str | None, model: CrossSimilarityNetwork
) -> dict[str, LabeledImages]:
    """The data; labels that are numbers without names stand for the network's classes."""
    splits = read(data, image_root, format=data_format)
    nameless = all(name.isdecimal() for name in next(iter(splits.values())).classes)
    return read(data, image_root, model.class_names, format=data_format) if nameless else splits


def _chosen(splits: dict[str, LabeledImages], name: str, data: str) -> tuple[str, LabeledImages]:
    """The split of that name, or all images; data without splits has only those."""
    if name == "all" or list(splits) == ["all"]:
        return "all", merge(splits)
    if name not in splits:
        raise InputError(f"{data} has no {name} split; it has {', '.join(splits)}; choose with --split, or 'all'")
    return name, splits[name]
