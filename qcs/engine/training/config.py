"""All settings of a training run, each declared in one field; see `qcs.engine.training.settings`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from qcs.data.published_augmentation import PUBLISHED
from qcs.data.votes import RULES
from qcs.engine.training import settings
from qcs.engine.training.recipes import FINETUNE, SCRATCH, recipe
from qcs.engine.training.settings import Range, setting, settings_of
from qcs.errors import InputError
from qcs.faces.alignment import CROPS

ANY_BACKBONE = ("base_any", "dcs_any", "qcs_any", "timm_any")
FOR_48_PIXELS = re.compile(r"(base|dcs|qcs)_(nano|small|dlib)(\.|$)")  # networks that `scratch` and `finetune` are for

_data = partial(setting, group="Data")
_model = partial(setting, group="Model")
_optimization = partial(setting, group="Optimization")
_augmentation = partial(setting, group="Augmentation")
_distillation = partial(setting, group="Distillation")
_run = partial(setting, group="Run")


@settings.documented
@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run, which are also the options of `qcs train`.

    The defaults are those of the published trainings where these agree; a recipe (`from_recipe`) replaces some.

    {settings}

    Raises:
        InputError: If a value is not of its type, out of range or not among its choices.

    Example:
        >>> from qcs.engine.training import TrainConfig
        >>> TrainConfig.from_recipe("scratch", data="faces.npz", model="qcs_nano").schedule
        'cosine'
    """

    data: str = _data(help="Images: .npz archive, folder per class, or .txt/.lst/.csv list.", role="data")
    image_root: str | None = _data(
        None, help="Folder that the paths of a list start from.", unset="the folder of the list", role="machine"
    )
    data_format: str | None = _data(
        None, help="Format of the data, as raf_db. An unknown name lists all.", unset="recognized"
    )
    crop: str | None = _data(
        None,
        help="Crop of the faces in the images, kept with the weights.",
        choices=tuple(CROPS),
        unset="read from the log of 'qcs data align', where there is one",
    )
    votes: str | None = _data(
        None,
        help="Rule that turns FERPlus votes of training images into labels. Other splits keep the majority.",
        choices=tuple(RULES),
        unset="majority",
    )
    soft_labels: bool = _data(False, help="Train on the fraction of votes of each class instead of one label.")
    validation_fraction: float = _data(
        0.1,
        help="Fraction of the training images, per class, held out for validation where the data has no such split.",
        range=Range(above=0, at_most=0.9),
    )
    fraction: float = _data(
        1.0, help="Fraction of the training images used as anchors in an epoch.", range=Range(above=0, at_most=1)
    )
    balance: Literal["none", "class", "square-root"] = _data(
        "none",
        help="Balance of the anchors: none shuffles the images, class draws as many from every class, square-root "
        "draws from a class in proportion to the square root of its images.",
    )
    negatives: Literal["image", "class"] = _data(
        "image", help="Draw cross-class partner images uniformly over images or over classes."
    )

    model: str = _model("qcs_nano", help="Network, see 'qcs models'.")
    backbone: str | None = _model(
        None,
        help="Network of timm: any with features in qcs_any, dcs_any and base_any, any classifier in timm_any.",
        unset="the network's own",
    )
    pretrained_backbone: bool = _model(False, help="Start from timm's pretrained weights of the backbone.")
    freeze_backbone: bool = _model(False, help="Train everything but the backbone.")
    objective_args: dict[str, Any] = _model(  # noqa: RUF009
        {},
        help="Argument of the objective as NAME=VALUE, of a network with an objective of its own. Repeatable.",
        option="objective-arg",
    )
    init: str | None = _model(
        None,
        help="Weights to start from: run folder, file, hf-hub:ORG/NAME or name of a network. Heads for other classes "
        "start fresh.",
        unset="random weights",
        role="weights",
    )
    in_chans: Literal[1, 3] = _model(3, help="Channels of the images in the network (3 color, 1 grayscale).")
    model_args: dict[str, Any] = _model(  # noqa: RUF009
        {}, help="Argument of the network as NAME=VALUE, as scope=sample. Repeatable.", option="model-arg"
    )

    epochs: int = _optimization(40, help="Passes over the anchors.", range=Range(at_least=1))
    minutes: float | None = _optimization(
        None,
        help="Time budget of the training loop, in minutes. The schedule ends with it or with the epochs.",
        range=Range(above=0),
    )
    batch_size: int | None = _optimization(
        None,
        help="Anchors per batch, each with its partner images.",
        range=Range(at_least=2, reason="batch norm needs it in training"),
        unset="images per step divided by the branches",
    )
    images_per_step: int = _optimization(
        96, help="Images per batch over all branches, where no batch size is given.", range=Range(at_least=8)
    )
    accumulate: int = _optimization(
        1, help="Batches per optimizer step (gradient accumulation).", range=Range(at_least=1)
    )
    optimizer: Literal["adamw", "adam", "sgd"] = _optimization("adamw", help="Optimizer.")
    momentum: float = _optimization(0.9, help="Momentum of sgd.", range=Range(at_least=0, below=1))
    lr: float = _optimization(1e-3, help="Learning rate at the start.", range=Range(above=0))
    schedule: Literal["exponential", "cosine", "annealing", "annealing_steps"] = _optimization(
        "exponential",
        help="Learning rate schedule: lr * lr_decay ** epoch; a cosine over the run after a warm-up; or a cosine that "
        "falls and rises again, by epoch or by optimizer step.",
    )
    lr_decay: float = _optimization(
        0.98, help="Factor of the learning rate, exponential schedule.", range=Range(above=0, at_most=1)
    )
    decay_epochs: int = _optimization(
        1, help="Epochs after which lr_decay applies each time, exponential schedule.", range=Range(at_least=1)
    )
    warm_up: float = _optimization(
        0.05,
        help="Fraction of the run in which the learning rate rises from 0, cosine schedule.",
        range=Range(at_least=0, below=1),
    )
    lr_floor: float = _optimization(
        0.0, help="Fraction of lr that the cosine schedule ends at.", range=Range(at_least=0, at_most=1)
    )
    half_period: int = _optimization(
        20,
        help="Epochs or optimizer steps in which the rate falls to 0, annealing schedules.",
        range=Range(at_least=1),
    )
    layer_decay: float = _optimization(
        1.0,
        help="Layer-wise decay: factor of the learning rate per layer, from the heads back to the stem.",
        range=Range(above=0, at_most=1),
    )
    weight_decay: float = _optimization(
        0.0,
        help="Weight decay: decoupled in adamw, in the gradient in adam and sgd. Biases, norms and position embeddings "
        "are exempt.",
        range=Range(at_least=0),
    )
    decay_all: bool = _optimization(False, help="Apply the weight decay to biases, norms and position embeddings, too.")
    sam_rho: float = _optimization(
        0.05, help="Radius of sharpness-aware minimization (SAM). 0 turns it off.", range=Range(at_least=0)
    )
    clip_grad: float | None = _optimization(
        None, help="Maximum gradient norm (gradient clipping).", range=Range(above=0)
    )
    label_smoothing: float = _optimization(0.0, help="Label smoothing.", range=Range(at_least=0, below=1))
    class_weights: Literal["none", "inverse"] = _optimization(
        "none", help="Weights of the classes in the loss, equal or inverse to their frequency."
    )
    ema: float = _optimization(
        0.0,
        help="Decay of the exponential moving average (EMA) of the weights, which is then evaluated and kept. 0 turns "
        "it off.",
        range=Range(at_least=0, below=1),
    )
    patience: int | None = _optimization(
        None,
        help="Early stopping: epochs without improvement on the validation images.",
        range=Range(at_least=1),
        unset="no early stopping",
    )
    patience_on: Literal["accuracy", "loss"] = _optimization(
        "accuracy", help="Validation measure that early stopping waits for.", requires="patience"
    )
    select_on: Literal["accuracy", "loss"] = _optimization(
        "accuracy", help="Validation measure by which the weights of the best epoch are kept."
    )

    augmentation: str | None = _augmentation(
        None,
        help="Published augmentation of another method, in place of the other settings of this group.",
        choices=tuple(PUBLISHED),
        unset="those settings",
    )
    resize: int | None = _augmentation(
        None,
        help="Side in pixels that images are resized to before a random crop to the input size.",
        range=Range(at_least=1),
        unset="the input size, no crop",
    )
    rotation: float = _augmentation(
        0.0, help="Maximum random rotation, in degrees.", range=Range(at_least=0, at_most=180)
    )
    scale: float = _augmentation(0.0, help="Maximum random change of size, relative.", range=Range(at_least=0, below=1))
    stretch: float = _augmentation(
        0.0, help="Maximum random change of the width alone, relative.", range=Range(at_least=0, below=1)
    )
    low_light: float = _augmentation(
        0.0,
        help="Maximum fraction of the light that is taken away, of a quarter of the images.",
        range=Range(at_least=0, below=1),
    )
    blur: float = _augmentation(
        0.0,
        help="Maximum standard deviation of Gaussian blur, in pixels, of a quarter of the images.",
        range=Range(at_least=0),
    )
    noise: float = _augmentation(
        0.0,
        help="Maximum standard deviation of Gaussian noise, of 255, of a quarter of the images.",
        range=Range(at_least=0),
    )
    erasing: tuple[float, float] | None = _augmentation(
        (0.02, 0.1), help="Random erasing: smallest and largest fraction of the area that is erased."
    )
    color_jitter: tuple[float, float, float, float] = _augmentation(
        (0.2, 0.2, 0.2, 0.1), help="Color jitter: maximum change of brightness, contrast, saturation and hue."
    )

    distillation: dict[str, float] | None = _distillation(  # noqa: RUF009
        None, help="Weights of the terms that distill the cross classifier into the base classifier.", option=None
    )
    teachers: tuple[str, ...] = _distillation(
        (),
        help="Weights of a teacher for knowledge distillation. Repeatable: the teachers' probabilities are averaged.",
        option="teacher",
        role="weights",
    )
    teacher_share: float = _distillation(
        0.5,
        help="Weight of the teachers' probabilities in the training targets. The labels have the rest.",
        range=Range(at_least=0, at_most=1),
        requires="teachers",
    )

    output: str | None = _run(None, help="Run folder to create.", unset="runs/MODEL-DATE-TIME", role="machine")
    precision: Literal["auto", "fp32", "bf16"] = _run(
        "fp32", help="Precision: bf16 is autocast to bfloat16. Auto chooses it where the processor computes it."
    )
    compile: bool = _run(False, help="Compile the network with torch.compile: slow start, faster steps.")
    checkpoint_minutes: float = _run(
        5.0, help="Minutes between checkpoints within an epoch.", range=Range(at_least=0), role="machine"
    )
    workers: int = _run(
        0, help="Processes that load images. 0 loads in the main process.", range=Range(at_least=0), role="machine"
    )
    seed: int = _run(
        0,
        help="Seed of weights, sampling and augmentation.",
        range=Range(at_least=0, at_most=2**32 - 1),  # NumPy accepts no other
        role="repetition",
    )

    def __post_init__(self) -> None:
        settings.check(self)
        if self.init and self.pretrained_backbone:
            raise InputError("init fills the backbone too: leave out pretrained_backbone")
        if self.augmentation is not None and (replaced := self._replaced_by_augmentation()):
            names = ", ".join(replaced)
            raise InputError(f"augmentation={self.augmentation} takes the place of {names}: give one or other")

    def _replaced_by_augmentation(self) -> list[str]:
        group = [each for each in settings_of(type(self)) if each.group == "Augmentation"]
        others = [each for each in group if each.name != "augmentation"]
        return [each.name for each in others if getattr(self, each.name) != each.default]

    @classmethod
    def from_recipe(cls, name: str | None = None, **overrides: Any) -> TrainConfig:
        """Return the settings of a recipe with some replaced.

        Weights to start from (`init`) imply the network and its arguments, the channels and the resize, where neither
        the recipe nor an override sets them. The `resize` of a recipe fits the images of its own networks: with any
        other backbone it holds only if given.

        Args:
            name: Name of the recipe; None for `finetune` with `init` and `scratch` without.
            **overrides: Settings by name.

        Raises:
            InputError: If the recipe or a setting is unknown, a value is not allowed, or there are no such weights.

        Example:
            >>> from qcs.engine.training import TrainConfig
            >>> config = TrainConfig.from_recipe(data="faces", init="qcs_small")
            >>> config.model, config.in_chans, config.resize
            ('qcs_small', 1, 54)
        """
        known = {each.name for each in settings_of(cls)}
        if unknown := overrides.keys() - known:
            raise InputError(
                f"unknown settings {', '.join(sorted(unknown))}; expected some of {', '.join(sorted(known))}"
            )
        values = recipe(name or recipe_for(overrides))
        if overrides.get("backbone") or _takes_other_images(overrides.get("model"), values):
            values.pop("resize", None)
        for name in ("model_args", "objective_args"):  # those of the recipe hold unless given by name
            if name in values and name in overrides:
                overrides[name] = {**values[name], **overrides[name]}
        values = {**values, **settings.from_json(overrides)}
        return cls(**(_with_implied(values) if values.get("init") else values))

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as plain values for JSON."""
        return settings.to_json(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TrainConfig:
        """Rebuild the settings from the output of `to_dict`.

        Raises:
            InputError: If a setting is unknown, or a value is not allowed.
        """
        if unknown := record.keys() - {each.name for each in settings_of(cls)}:
            raise InputError(f"unknown settings {', '.join(sorted(unknown))}; are they of another version of qcs?")
        return cls(**settings.from_json(record))

    def anchors_per_step(self, branches: int) -> int:
        """Return the anchors per batch of a network with that many branches."""
        return self.batch_size or self.images_per_step // branches

    def learning_rate(self, epoch: float, progress: float, step: int = 0) -> float:
        """Return the learning rate at a point of the run.

        Args:
            epoch: Epochs done.
            progress: Fraction of the run that is done, in [0, 1]: of the epochs or of the time budget, whichever is
                larger.
            step: Optimizer steps done.
        """
        if self.schedule == "cosine":
            rising = min(1.0, progress / self.warm_up) if self.warm_up else 1.0
            return self.lr * rising * (self.lr_floor + (1 - self.lr_floor) * 0.5 * (1 + math.cos(math.pi * progress)))
        if self.schedule in ("annealing", "annealing_steps"):
            done = math.floor(epoch) if self.schedule == "annealing" else step
            return self.lr * 0.5 * (1 + math.cos(math.pi * done / self.half_period))
        return float(self.lr * self.lr_decay ** (math.floor(epoch) // self.decay_epochs))

    def folder(self, stamp: str) -> Path:
        """Return the run folder, named after the model and `stamp` if none is given."""
        return Path(self.output) if self.output else Path("runs") / f"{self.model}-{stamp}"


def recipe_for(overrides: Mapping[str, Any]) -> str:
    """Return the recipe of a run whose settings name none: `finetune` from weights, `scratch` without.

    Example:
        >>> recipe_for({"init": "qcs_small"}), recipe_for({})
        ('finetune', 'scratch')
    """
    return FINETUNE if overrides.get("init") else SCRATCH


def _takes_other_images(model: str | None, recipe: Mapping[str, Any]) -> bool:
    """Whether a network takes images of another size than those that a recipe resizes to."""
    if model is None:
        return False
    return model in ANY_BACKBONE or ("model" not in recipe and FOR_48_PIXELS.match(model) is None)


def _with_implied(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with those that the initial weights imply where they are not set."""
    named = "model" in values or bool(values.get("backbone"))
    if named and "in_chans" in values and "resize" in values:
        return dict(values)
    from qcs.engine.training.initial import implied_settings  # imports torch

    implied = implied_settings(values["init"])
    arguments = {**implied.pop("model_args", {}), **values.get("model_args", {})}
    if named:  # perhaps of another architecture: the arguments of the weights may not be its own
        implied.pop("model", None)
        return {**implied, **values}
    return {**implied, **values, "model_args": arguments}
