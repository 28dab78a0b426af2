"""What is compared: every condition as a record, and the compute that all of them get.

Compute is counted in image views: how often an image passes the backbone forward and backward. A step of any network
takes the same number of images, whatever its branches; a pass of SAM counts each image again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from qcs.branches import BRANCHES
from qcs.engine import TrainConfig
from qcs.errors import InputError

Labels = Literal["votes", "majority", "fer2013", "drawn"]
"""What is trained on: shares of the votes, their majority, the old single labels, or drawn faces with a shortcut."""

IMAGES_PER_STEP = 48
ROUND = 9600  # image views between two looks at the validation images
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
        against: The condition it is compared with.
        round: Image views between two looks at the validation images.
    """

    name: str
    group: str
    family: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    labels: Labels = "votes"
    against: str = "base"
    round: int = ROUND

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

    def steps(self, condition: Condition) -> int:
        """Optimiser steps of a run."""
        return self.views // (IMAGES_PER_STEP * condition.passes)

    def settings(self, condition: Condition, seed: int, images: int, output: str) -> TrainConfig:
        """The settings of a run.

        Args:
            condition: What is trained.
            seed: Of everything random.
            images: How many there are to train on.
            output: The run folder.

        Raises:
            InputError: If there are too few images for a round of different ones.
        """
        anchors = IMAGES_PER_STEP // condition.branches
        steps = condition.round // (IMAGES_PER_STEP * condition.passes)
        if steps * anchors > images:
            raise InputError(f"{condition.name} takes {steps * anchors:,} images per round, but there are {images:,}")
        common = dict(
            data="drawn faces" if condition.labels == "drawn" else "ferplus.npz",
            model=f"{condition.family}_{self.network}",
            soft_labels=condition.labels == "votes",
            images_per_step=IMAGES_PER_STEP,
            epochs=self.views // condition.round,
            fraction=steps * anchors / images,
            checkpoint_minutes=1.0,
            seed=seed,
            output=output,
        )
        return TrainConfig.from_recipe("nano", **{**common, **condition.settings})


def _qcs(name: str, group: str, **settings: Any) -> Condition:
    return Condition(name, group, "qcs", settings)


def _drawn(family: str) -> Condition:
    """Drawn people are plenty: flips alone, and pixels that stay where their masks are."""
    settings = dict(resize=None, rotation=0.0, color_jitter=(0.0, 0.0, 0.0, 0.0))
    return Condition(f"drawn-{family}", "shortcut", family, settings, "drawn", "drawn-base", ROUND // 4)


PLAN: tuple[Condition, ...] = (
    Condition("base", "core", "base"),
    Condition("base-sam", "core", "base", {"sam_rho": SAM_RHO}),
    Condition("dcs", "core", "dcs"),  # cross similarity attention, connection vit
    Condition("qcs", "core", "qcs"),  # matrices sd, connection vit, scope batch, no distillation
    _qcs("qcs-s", "matrices", model_args={"matrices": "s"}),
    _qcs("qcs-d", "matrices", model_args={"matrices": "d"}),
    _qcs("qcs-none", "connection", model_args={"connection": "none"}),
    _qcs("qcs-gap", "connection", model_args={"connection": "gap"}),
    _qcs("qcs-bilinear", "connection", model_args={"connection": "bilinear"}),
    Condition("dcs-sdpa", "attention", "dcs", {"model_args": {"attention": "sdpa"}}),
    _qcs("qcs-sample", "scope", model_args={"scope": "sample"}),
    _qcs("qcs-kl", "distillation", distillation={"kl": 1.0}),
    _qcs("qcs-l2", "distillation", distillation={"l2": 1.0}),
    Condition("base-majority", "labels", "base", labels="majority", against="base-majority"),
    Condition("qcs-majority", "labels", "qcs", labels="majority", against="base-majority"),
    Condition("base-fer2013", "labels", "base", labels="fer2013", against="base-fer2013"),
    Condition("qcs-fer2013", "labels", "qcs", labels="fer2013", against="base-fer2013"),
    _drawn("base"),
    _drawn("dcs"),
    _drawn("qcs"),
)
"""All conditions, the most wanted first."""

GROUPS: dict[str, str] = {
    "core": "the network alone, with SAM, and taught by pairs and quadruplets",
    "matrices": "which matrices are compared: s, d, or (`qcs`) both",
    "connection": "how the cross classifier sees the features: not, GAP, bilinear pooling, or (`qcs`) ViT",
    "attention": "scaled dot products in place of (`dcs`) cross similarity",
    "scope": "extremal distances per sample in place of (`qcs`) per batch",
    "distillation": "a term from cross to base logits, KL or L2, or (`qcs`) none",
    "labels": "one label per training image: the votes' majority, or the old noisy label",
    "shortcut": "drawn faces with glasses that tell the class in training only",
}
assert all(condition.branches in BRANCHES for condition in PLAN)


def condition(name: str) -> Condition:
    """The condition of that name.

    Raises:
        InputError: If there is none.
    """
    return chosen([name])[0]


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
    return ((condition, seed) for seed in range(seeds) for condition in conditions)
