"""The images of a training run: which are trained on, which choose the model, which only test it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qcs.data import hold_out, read
from qcs.data.dataset import LabelledImages
from qcs.data.votes import DEFAULT
from qcs.engine.config import TrainConfig
from qcs.errors import InputError


@dataclass(frozen=True)
class Sources:
    """Images to train on, to choose the model by, and to test it once at the end.

    Attributes:
        train: Training images.
        validation: Images the model is chosen on.
        test: Images that are looked at once, with the chosen model; None where the data has none.
        selection: One line that says where the validation images come from.
    """

    train: LabelledImages
    validation: LabelledImages
    test: LabelledImages | None
    selection: str

    def with_classes(self, classes: tuple[str, ...]) -> Sources:
        """The same images under another class order."""
        test = self.test and self.test.with_classes(classes)
        return Sources(self.train.with_classes(classes), self.validation.with_classes(classes), test, self.selection)

    def summary(self) -> dict[str, dict[str, int]]:
        """Images per class of every set."""
        sets = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: images.class_counts() for name, images in sets.items() if images is not None}


def sources(config: TrainConfig, splits: Mapping[str, LabelledImages] | None = None) -> Sources:
    """The images of a run, from `config.data` or from `splits` in memory.

    Where there is no validation split, a share of the training images is held out per class: the model is never chosen
    on test images.

    Raises:
        InputError: If the data cannot be read or has nothing to train on, or a vote rule is given for images in memory.
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


def _read(config: TrainConfig) -> dict[str, LabelledImages]:
    """The splits; only training images are labelled by another rule than the official majority."""
    found = dict(read(config.data, config.image_root, format=config.data_format, votes=config.votes))
    if config.votes not in (None, DEFAULT):
        official = read(config.data, config.image_root, format=config.data_format)
        found |= {name: official[name] for name in ("validation", "test") if name in official}
    return found
