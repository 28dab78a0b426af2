"""Everything that decides a training run, in one record that is saved with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from qcs.engine.training.recipes import recipe
from qcs.errors import InputError
from qcs.faces.alignment import template

WARM_UP = 0.05  # share of the run in which the cosine schedule's learning rate rises from 0
ANY_BACKBONE = ("base_any", "dcs_any", "qcs_any")
CHOICES = {
    "schedule": ("exponential", "cosine"),
    "balance": ("none", "class"),
    "negatives": ("image", "class"),
    "precision": ("auto", "fp32", "bf16"),
    "class_weights": ("none", "inverse"),
}


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run.

    Args:
        data: `.npz` archive, folder per class or list file, see `qcs.data.read`.
        model: Name of the network, see `qcs.list_models`.
        image_root: Folder that the paths of a list file start from.
        crop: How the faces are cut out of their pictures, see `qcs.faces.template`; kept with the weights. None finds
            it in the log of `qcs data align`, where that wrote the images.
        data_format: Format of the data, see `qcs.data.read`; None recognises it.
        votes: How FERPlus votes of the training images become labels, see `qcs.data.votes.decide`; validation and test
            splits keep the official majority, which None means for all.
        soft_labels: Train on the share of votes of each class, where the data has votes, instead of one label.
        teachers: Weights of trained networks that have a say in the targets, see `qcs.engine.training.teachers`.
        teacher_share: Their weight in the targets, in [0, 1].
        output: The run folder to create; None makes one under `runs/`.
        init: Weights to start from; where their classes differ from the data's, the heads start fresh.
        backbone: Any timm model with features, for `qcs_any`, `dcs_any` or `base_any`; None keeps the network's own.
        pretrained_backbone: Start with timm's weights of the backbone.
        freeze_backbone: Train all but the backbone.
        model_args: Arguments of the network (`scope`, `matrices`, `connection`, ...).
        in_chans: Channels of the images inside the network, 3 (colour) or 1 (grey).
        epochs: Passes over the sampled anchors.
        minutes: Time budget of the training loop in minutes; the schedule ends with whichever ends first.
        batch_size: Anchors per step; None divides `images_per_step` by the branches.
        images_per_step: Images per step over all branches; 96 is the published 48 pairs or 24 quadruplets.
        lr: Learning rate at the start.
        schedule: `"exponential"` (lr * lr_decay ** epoch, as published) or `"cosine"` (to 0 at the end of the run).
        lr_decay: Factor per epoch of the exponential schedule.
        layer_decay: Factor of the learning rate per layer, from the heads back to the stem, in (0, 1]; 1 gives all
            layers the same.
        weight_decay: Decoupled weight decay (AdamW); 0, as published, is plain Adam. Biases, norms, slopes and the
            network's position embeddings are left alone.
        sam_rho: Radius of SAM; 0 switches it off and halves the work.
        distillation: Weights of the optional terms "kl" and "l2", see `JointLoss`.
        label_smoothing: Share of a label spread over all classes, in [0, 1).
        class_weights: Weights of the classes in the loss: 1 (`"none"`) or one over their share (`"inverse"`).
        accumulate: Batches per optimiser step; batch norm and extremal distances see one at a time.
        clip_grad: Largest norm of the gradient; None for any.
        ema: Decay per step of an average of the weights, which is then what is evaluated and kept; 0 for none. Lower in
            the first steps.
        patience: Epochs without a better validation accuracy after which the run ends; None for never.
        balance: Anchors as a shuffle of the set (`"none"`) or drawn class by class (`"class"`).
        negatives: Negatives uniform over images (`"image"`) or over classes (`"class"`).
        fraction: Share of the set used as anchors per epoch, in (0, 1].
        resize: Side in pixels before the random crop; None resizes to the input size without a crop.
        rotation: Largest random rotation in degrees.
        scale: Largest random change of size, relative.
        erasing: Smallest and largest share of the area that random erasing blanks; None for none.
        color_jitter: Largest change of brightness, contrast, saturation and hue, see `qcs.data.Augmentation`.
        precision: `"fp32"`, `"bf16"` for autocast to bfloat16, or `"auto"` for bf16 where the processor has it.
        compile: Compile the network with `torch.compile`: slow to start, then faster steps; needs a C++ compiler.
        validation_fraction: Share of the training images held out, per class, where the data has no validation split.
        checkpoint_minutes: Time between checkpoints within an epoch, in minutes; each epoch ends with one.
        workers: Processes that load images; 0 loads in the main process.
        seed: Decides weights, sampling and augmentation.

    Raises:
        InputError: If a value is out of range.

    Example:
        >>> from qcs.engine.training import TrainConfig
        >>> TrainConfig.from_recipe("nano", data="faces.npz", model="qcs_nano").schedule
        'cosine'
    """

    data: str
    model: str = "qcs_nano"
    image_root: str | None = None
    crop: str | None = None
    data_format: str | None = None
    votes: str | None = None
    soft_labels: bool = False
    teachers: tuple[str, ...] = ()
    teacher_share: float = 0.5
    output: str | None = None
    init: str | None = None
    backbone: str | None = None
    pretrained_backbone: bool = False
    freeze_backbone: bool = False
    model_args: dict[str, Any] = field(default_factory=dict)
    in_chans: int = 3
    epochs: int = 40
    minutes: float | None = None
    batch_size: int | None = None
    images_per_step: int = 96
    lr: float = 1e-3
    schedule: Literal["exponential", "cosine"] = "exponential"
    lr_decay: float = 0.98
    layer_decay: float = 1.0
    weight_decay: float = 0.0
    sam_rho: float = 0.05
    distillation: dict[str, float] | None = None
    label_smoothing: float = 0.0
    class_weights: Literal["none", "inverse"] = "none"
    accumulate: int = 1
    clip_grad: float | None = None
    ema: float = 0.0
    patience: int | None = None
    balance: Literal["none", "class"] = "none"
    negatives: Literal["image", "class"] = "image"
    fraction: float = 1.0
    resize: int | None = None
    rotation: float = 0.0
    scale: float = 0.0
    erasing: tuple[float, float] | None = (0.02, 0.1)
    color_jitter: tuple[float, float, float, float] = (0.2, 0.2, 0.2, 0.1)
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    compile: bool = False
    validation_fraction: float = 0.1
    checkpoint_minutes: float = 5.0
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            if not _fits(getattr(self, name), hint):
                raise InputError(f"{name} must be {_named(hint)}, got {getattr(self, name)!r}")
        ranges: dict[str, tuple[float, float]] = {
            "in_chans": (1, 3),
            "epochs": (1, math.inf),
            "images_per_step": (8, math.inf),
            "lr": (1e-12, math.inf),
            "lr_decay": (1e-12, 1),
            "layer_decay": (1e-12, 1),
            "weight_decay": (0, math.inf),
            "sam_rho": (0, math.inf),
            "teacher_share": (0, 1),
            "accumulate": (1, math.inf),
            "ema": (0, 1 - 1e-9),
            "checkpoint_minutes": (0, math.inf),
            "workers": (0, math.inf),
            "validation_fraction": (1e-6, 0.9),
            "seed": (0, 2**32 - 1),  # what NumPy takes
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} must be from {low:,} to {high:,}, got {getattr(self, name)}")
        if not self.teachers and self.teacher_share != type(self).teacher_share:
            raise InputError(f"teacher_share is {self.teacher_share}, but there are no teachers to give it to")
        for name in ("minutes", "resize", "clip_grad", "patience"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be above 0, got {value}")
        if self.batch_size is not None and self.batch_size < 2:
            raise InputError(f"batch_size must be at least 2 (batch norm needs it in training), got {self.batch_size}")
        if self.crop is not None:
            template(self.crop)
        if self.init and self.pretrained_backbone:
            raise InputError("init fills the backbone too: leave out pretrained_backbone")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}")

    @classmethod
    def from_recipe(cls, name: str, **overrides: Any) -> TrainConfig:
        """The settings of a recipe with some replaced.

        A recipe's `resize` fits the images of its own networks: on any other backbone it holds only where it is given.

        Raises:
            InputError: If the recipe or a setting is unknown.
        """
        known = {f.name for f in fields(cls)}
        if unknown := overrides.keys() - known:
            raise InputError(
                f"unknown settings {', '.join(sorted(unknown))}; expected some of {', '.join(sorted(known))}"
            )
        settings = recipe(name)
        if overrides.get("backbone") or overrides.get("model") in ANY_BACKBONE:
            settings.pop("resize", None)
        return cls(**{**settings, **_from_json(overrides)})

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> TrainConfig:
        """The settings that a run saved as JSON.

        Raises:
            InputError: If a setting is unknown or out of range.
        """
        known = {f.name for f in fields(cls)}
        if unknown := record.keys() - known:
            raise InputError(f"unknown settings {', '.join(sorted(unknown))}; are they of another version of qcs?")
        return cls(**_from_json(record))

    def anchors_per_step(self, branches: int) -> int:
        """Anchors per step of a network with that many branches."""
        return self.batch_size or self.images_per_step // branches

    def learning_rate(self, epoch: float, progress: float) -> float:
        """Learning rate at a point of the run.

        Args:
            epoch: Epochs done.
            progress: Share of the run done, in [0, 1]: of the epochs or of the time budget, whichever is further.
        """
        if self.schedule == "cosine":
            return self.lr * min(1.0, progress / WARM_UP) * 0.5 * (1 + math.cos(math.pi * progress))
        return float(self.lr * self.lr_decay ** math.floor(epoch))

    def folder(self, stamp: str) -> Path:
        """The run folder."""
        return Path(self.output) if self.output else Path("runs") / f"{self.model}-{stamp}"


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a declared type, as far as settings use them; choices are checked by name elsewhere."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin is tuple and args[-1] is Ellipsis:
        return isinstance(value, tuple) and all(_fits(each, args[0]) for each in value)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(args) and all(map(_fits, value, args))
    if origin is dict:
        return isinstance(value, dict) and all(_fits(k, args[0]) and _fits(v, args[1]) for k, v in value.items())
    if origin is Literal:
        return isinstance(value, str)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return hint is Any or isinstance(value, hint)


def _named(hint: Any) -> str:
    """A declared type in words for who writes settings as JSON."""
    if not get_args(hint):
        return str(hint.__name__)
    return str(hint).replace("typing.", "").replace(", ...", "").replace("tuple", "list")


def _from_json(record: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists only; settings of several numbers are tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
