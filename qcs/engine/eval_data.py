"""Labelled images of some data for a trained network: classes meet by name."""

from __future__ import annotations

from collections.abc import Callable

from qcs.data import merge, read
from qcs.data.dataset import LabeledImages
from qcs.data.readers import SPLITS
from qcs.errors import InputError
from qcs.models import CrossSimilarityNetwork


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
