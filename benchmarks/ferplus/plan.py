"""What is compared: every condition as a record, and the compute that all of them get.

Compute is counted in image views: how often an image passes the backbone forward and backward. A step of any network
takes the same number of images, whatever its branches; a pass of SAM counts each image again.

As in the published trainings, most conditions go on from weights that all of them share: those of `start`, the base
network trained alone for longer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from qcs.engine.training import TrainConfig
from qcs.errors import InputError

Labels = Literal["votes", "quadruplets", "strangers", "majority", "fer2013", "drawn"]
"""What is trained on: shares of the votes, the same with images as often as quadruplets bring them, the same in random
company, the majority of the votes, the old single labels, or drawn faces with a shortcut."""

IMAGES_PER_STEP = 48
ROUND = 19_200  # image views between two looks at the validation images
START_VIEWS = 25 * ROUND
WARM_LR = 3e-4  # the highest learning rate of what goes on from the start
FAMILIES = {"base": 1, "dcs": 2, "qcs": 4}  # branches by family
SAM_RHO = 0.05


@dataclass(frozen=True)
class Condition:
    """One way to train.

    Args:
        name: Names its files.
        group: What it is run for, a key of `GROUPS`.
        family: `"base"`, `"dcs"` or `"qcs"`; with the network's size it is the name of the network.
        settings: What differs from the common settings, for `TrainConfig`.
        labels: What it is trained on.
        against: The conditions it is compared with.
        round: Image views between two looks at the validation images.
        warm: Whether it goes on from the weights of `start`; it takes a network of fresh weights otherwise.
    """

    name: str
    group: str
    family: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    labels: Labels = "votes"
    against: tuple[str, ...] = ("base",)
    round: int = ROUND
    warm: bool = False

    @property
    def is_start(self) -> bool:
        """Whether it is what the warm conditions go on from: trained once, with seed 0, for `START_VIEWS`."""
        return self.name == "start"

    @property
    def branches(self) -> int:
        """Images per comparison."""
        return FAMILIES[self.family]

    @property
    def passes(self) -> int:
        """How often a step sees each of its images."""
        return 2 if self.settings.get("sam_rho") else 1


@dataclass(frozen=True)
class Budget:
    """The compute of one run.

    Args:
        views: Image views, a multiple of `ROUND`.
        network: Size of the network: `nano` for `base_nano`, `dcs_nano` and `qcs_nano`.

    Raises:
        InputError: If the views are no whole number of rounds.

    Example:
        >>> Budget(96_000).steps(condition("qcs")), Budget(96_000).steps(condition("base-sam"))
        (2000, 1000)
    """

    views: int
    network: str = "nano"

    def __post_init__(self) -> None:
        if self.views < ROUND or self.views % ROUND:
            raise InputError(f"views must be a multiple of {ROUND:,}, got {self.views:,}; take {self._nearest():,}")

    def _nearest(self) -> int:
        return max(ROUND, round(self.views / ROUND) * ROUND)

    def views_of(self, condition: Condition) -> int:
        """Image views of a run: those of the budget, but for the start of all."""
        return START_VIEWS if condition.is_start else self.views

    def steps(self, condition: Condition) -> int:
        """Optimiser steps of a run."""
        return self.views_of(condition) // (IMAGES_PER_STEP * condition.passes)

    def settings(
        self, condition: Condition, seed: int, images: int, output: str, start: str | None = None
    ) -> TrainConfig:
        """The settings of a run.

        Args:
            condition: What is trained.
            seed: Of everything random.
            images: How many there are to train on.
            output: The run folder.
            start: Weights for the conditions that do not begin with fresh ones.

        Raises:
            InputError: If there are too few images for a round of different ones.
        """
        anchors = IMAGES_PER_STEP // condition.branches
        steps = condition.round // (IMAGES_PER_STEP * condition.passes)
        if steps * anchors > images:
            raise InputError(f"{condition.name} takes {steps * anchors:,} images per round, but there are {images:,}")
        common: dict[str, Any] = dict(
            data="drawn faces" if condition.labels == "drawn" else "ferplus.npz",
            model=f"{condition.family}_{self.network}",
            soft_labels=condition.labels in ("votes", "quadruplets", "strangers"),
            images_per_step=IMAGES_PER_STEP,
            epochs=self.views_of(condition) // condition.round,
            fraction=steps * anchors / images,
            checkpoint_minutes=1.0,
            seed=seed,
            output=output,
        )
        if condition.warm:
            common |= dict(init=start, lr=WARM_LR)
        return TrainConfig.from_recipe("nano", **{**common, **condition.settings})


def _warm(
    name: str, group: str, family: str, labels: Labels = "votes", against: tuple[str, ...] = ("base",), **settings: Any
) -> Condition:
    return Condition(name, group, family, settings, labels, against, warm=True)


def _fresh(family: str, labels: Labels) -> Condition:
    """Fresh weights: those of the start have seen the votes."""
    name = "fresh" if labels == "votes" else labels
    group = name if name == "fresh" else "labels"
    against = () if family == "base" else (f"base-{name}",)
    return Condition(f"{family}-{name}", group, family, {}, labels, against)


def _drawn(family: str) -> Condition:
    """Drawn people are plenty: flips alone, and pixels that stay where their masks are."""
    settings = dict(resize=None, rotation=0.0, color_jitter=(0.0, 0.0, 0.0, 0.0))
    against = () if family == "base" else ("drawn-base",)
    return Condition(f"drawn-{family}", "shortcut", family, settings, "drawn", against, ROUND // 8)


PLAN: tuple[Condition, ...] = (
    Condition("start", "start", "base", against=()),
    _warm("base", "core", "base", against=()),
    _warm("base-quadruplets", "core", "base", "quadruplets"),
    _warm("base-sam", "core", "base", sam_rho=SAM_RHO),
    _warm("dcs", "core", "dcs"),  # cross similarity attention, connection vit
    # Matrices sd, connection vit, scope batch, no distillation.
    _warm("qcs", "core", "qcs", against=("base", "base-quadruplets")),
    _warm("qcs-sam", "published", "qcs", against=("base-sam",), sam_rho=SAM_RHO),
    _warm("qcs-strangers", "strangers", "qcs", "strangers", against=("base", "qcs")),
    _warm("qcs-s", "matrices", "qcs", model_args={"matrices": "s"}),
    _warm("qcs-d", "matrices", "qcs", model_args={"matrices": "d"}),
    _warm("qcs-none", "connection", "qcs", model_args={"connection": "none"}),
    _warm("qcs-gap", "connection", "qcs", model_args={"connection": "gap"}),
    _warm("qcs-bilinear", "connection", "qcs", model_args={"connection": "bilinear"}),
    _warm("dcs-sdpa", "attention", "dcs", model_args={"attention": "sdpa"}),
    _warm("qcs-sample", "scope", "qcs", model_args={"scope": "sample"}),
    _warm("qcs-kl", "distillation", "qcs", distillation={"kl": 1.0}),
    _warm("qcs-l2", "distillation", "qcs", distillation={"l2": 1.0}),
    *(_fresh(family, "votes") for family in ("base", "dcs", "qcs")),
    *(_fresh(family, labels) for labels in ("majority", "fer2013") for family in ("base", "qcs")),
    *(_drawn(family) for family in ("base", "dcs", "qcs")),
)
"""All conditions, the most wanted first."""

GROUPS: dict[str, str] = {
    "start": "the base network alone, trained for longer; all but the groups fresh, labels and shortcut go on from it",
    "core": "the network alone, with the images of quadruplets, with SAM, and taught by pairs and quadruplets",
    "published": "quadruplets with SAM, as published, against SAM alone",
    "strangers": "quadruplets of images drawn as they come, whatever their labels, as `base` sees them one by one",
    "matrices": "which matrices are compared: s, d, or (`qcs`) both",
    "connection": "how the cross classifier sees the features: not, GAP, bilinear pooling, or (`qcs`) ViT",
    "attention": "scaled dot products in place of (`dcs`) cross similarity",
    "scope": "extremal distances per sample in place of (`qcs`) per batch",
    "distillation": "a term from cross to base logits, KL or L2, or (`qcs`) none",
    "fresh": "from fresh weights",
    "labels": "from fresh weights with one label per training image: the votes' majority, or the old noisy label",
    "shortcut": "drawn faces with glasses that tell the class in training only",
}


def condition(name: str) -> Condition:
    """The condition of that name.

    Raises:
        InputError: If there is none.
    """
    known = {each.name: each for each in PLAN}
    if name not in known:
        raise InputError(f"unknown condition {name}; expected one of {', '.join(known)}")
    return known[name]


def chosen(names: Collection[str]) -> list[Condition]:
    """The conditions of these names or groups, in the order of the plan; all of them for no names.

    Raises:
        InputError: If a name is unknown.
    """
    known = {c.name for c in PLAN} | GROUPS.keys()
    if unknown := set(names) - known:
        raise InputError(
            f"unknown condition {', '.join(sorted(unknown))}; expected names {', '.join(c.name for c in PLAN)} or "
            f"groups {', '.join(GROUPS)}"
        )
    return [c for c in PLAN if not names or c.name in names or c.group in names]


def runs(conditions: Collection[Condition], seeds: int) -> Iterator[tuple[Condition, int]]:
    """Every condition of one seed before any of the next, so that what is done so far compares like with like."""
    return ((each, seed) for seed in range(seeds) for each in conditions if not (seed and each.is_start))
