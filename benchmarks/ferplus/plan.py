"""Define every condition as a record, and the compute budget that all of them share.

Compute is counted in image views: forward and backward passes of an image through the backbone. A step of any network
takes the same number of images, whatever its branches; the second pass of SAM counts each image again.

As in the published training runs, most conditions continue from shared weights: those of `start`, the base network
trained alone for longer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from qcs.engine.training import TrainConfig
from qcs.errors import InputError

Labels = Literal["votes", "quadruplets", "random-partners", "majority", "fer2013", "synthetic"]
"""Training targets: vote shares; vote shares with images as often as quadruplets contain them; vote shares with random
partner images; the majority of the votes; the old single labels; or synthetic faces with a shortcut."""

IMAGES_PER_STEP = 48
ROUND = 19_200  # image views between evaluations on the validation images
START_VIEWS = 25 * ROUND
WARM_LR = 3e-4  # peak learning rate of runs that continue from the start
FAMILIES = {"base": 1, "dcs": 2, "qcs": 4}  # branches by family
SAM_RHO = 0.05


@dataclass(frozen=True)
class Condition:
    """One training method.

    Args:
        name: Names its files.
        group: Its purpose, a key of `GROUPS`.
        family: `"base"`, `"dcs"` or `"qcs"`; with the size it forms the name of the network.
        settings: Settings of `TrainConfig` that differ from the common ones.
        labels: Its training targets.
        against: The conditions it is compared with.
        round: Image views between evaluations on the validation images.
        warm: Whether it continues from the weights of `start`; otherwise it starts from random weights.
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
        """Return whether the warm conditions continue from it: trained once, with seed 0, for `START_VIEWS`."""
        return self.name == "start"

    @property
    def branches(self) -> int:
        """Return the number of images per comparison."""
        return FAMILIES[self.family]

    @property
    def passes(self) -> int:
        """Return how often a step sees each of its images."""
        return 2 if self.settings.get("sam_rho") else 1


@dataclass(frozen=True)
class Budget:
    """The compute of one run.

    Args:
        views: Image views, a multiple of `ROUND`.
        network: Size of the network: `nano` for `base_nano`, `dcs_nano` and `qcs_nano`.

    Raises:
        InputError: If the views are not a multiple of `ROUND`.

    Example:
        >>> Budget(96_000).steps(condition("qcs")), Budget(96_000).steps(condition("base-sam"))
        (2000, 1000)
    """

    views: int
    network: str = "nano"

    def __post_init__(self) -> None:
        if self.views < ROUND or self.views % ROUND:
            raise InputError(f"views must be a multiple of {ROUND:,}, got {self.views:,}; use {self._nearest():,}")

    def _nearest(self) -> int:
        return max(ROUND, round(self.views / ROUND) * ROUND)

    def views_of(self, condition: Condition) -> int:
        """Return the image views of a run: those of the budget, except for the shared start."""
        return START_VIEWS if condition.is_start else self.views

    def steps(self, condition: Condition) -> int:
        """Return the optimizer steps of a run."""
        return self.views_of(condition) // (IMAGES_PER_STEP * condition.passes)

    def settings(
        self, condition: Condition, seed: int, images: int, output: str, start: str | None = None
    ) -> TrainConfig:
        """Return the settings of a run.

        Args:
            condition: The training method.
            seed: Seed of all random numbers.
            images: Number of training images.
            output: The run folder.
            start: Initial weights of warm conditions.

        Raises:
            InputError: If there are too few images for a round without repetition.
        """
        anchors = IMAGES_PER_STEP // condition.branches
        steps = condition.round // (IMAGES_PER_STEP * condition.passes)
        if steps * anchors > images:
            raise InputError(f"{condition.name} takes {steps * anchors:,} images per round, but there are {images:,}")
        common: dict[str, Any] = dict(
            data="synthetic faces" if condition.labels == "synthetic" else "ferplus.npz",
            model=f"{condition.family}_{self.network}",
            soft_labels=condition.labels in ("votes", "quadruplets", "random-partners"),
            images_per_step=IMAGES_PER_STEP,
            epochs=self.views_of(condition) // condition.round,
            fraction=steps * anchors / images,
            checkpoint_minutes=1.0,
            seed=seed,
            output=output,
        )
        if condition.warm:
            common |= dict(init=start, lr=WARM_LR)
        return TrainConfig.from_recipe("scratch", **{**common, **condition.settings})


def _warm(
    name: str, group: str, family: str, labels: Labels = "votes", against: tuple[str, ...] = ("base",), **settings: Any
) -> Condition:
    return Condition(name, group, family, settings, labels, against, warm=True)


def _fresh(family: str, labels: Labels) -> Condition:
    """Start from random weights: the weights of `start` have seen the votes."""
    name = "fresh" if labels == "votes" else labels
    group = name if name == "fresh" else "labels"
    against = () if family == "base" else (f"base-{name}",)
    return Condition(f"{family}-{name}", group, family, {}, labels, against)


def _synthetic(family: str) -> Condition:
    """Use flips only: synthetic faces are plentiful, and pixels must stay aligned with their masks."""
    settings = dict(resize=None, rotation=0.0, color_jitter=(0.0, 0.0, 0.0, 0.0))
    against = () if family == "base" else ("synthetic-base",)
    return Condition(f"synthetic-{family}", "shortcut", family, settings, "synthetic", against, ROUND // 8)


PLAN: tuple[Condition, ...] = (
    Condition("start", "start", "base", against=()),
    _warm("base", "core", "base", against=()),
    _warm("base-quadruplets", "core", "base", "quadruplets"),
    _warm("base-sam", "core", "base", sam_rho=SAM_RHO),
    _warm("dcs", "core", "dcs"),  # cross similarity attention, connection vit
    # Matrices sd, connection vit, scope batch, no distillation.
    _warm("qcs", "core", "qcs", against=("base", "base-quadruplets")),
    _warm("qcs-sam", "sam", "qcs", against=("base-sam",), sam_rho=SAM_RHO),
    _warm("qcs-random-partners", "random-partners", "qcs", "random-partners", against=("base", "qcs")),
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
    *(_synthetic(family) for family in ("base", "dcs", "qcs")),
)
"""All conditions, the most important first."""

GROUPS: dict[str, str] = {
    "start": "the base network alone, trained longer; all groups but fresh, labels and shortcut continue from it",
    "core": "the base network alone, on the images of quadruplets, with SAM, and trained with pairs and quadruplets",
    "sam": "quadruplets with SAM against SAM alone; of the paper's training only SAM and its rho, 0.05",
    "random-partners": "quadruplets sampled without regard to labels; each image as often as in `base`",
    "matrices": "which matrices are used: s, d, or (`qcs`) both",
    "connection": "how the cross classifier gets the features: not at all, GAP, bilinear pooling, or (`qcs`) ViT",
    "attention": "scaled dot-product attention in place of (`dcs`) cross similarity",
    "scope": "extremal distances per sample in place of (`qcs`) per batch",
    "distillation": "a distillation term from cross to base logits: KL, L2, or (`qcs`) none",
    "fresh": "from random weights",
    "labels": "from random weights, one label per training image: the majority of the votes, or the old noisy label",
    "shortcut": "synthetic faces with glasses that indicate the class in training only",
}


def condition(name: str) -> Condition:
    """Return the condition of that name.

    Raises:
        InputError: If there is none.
    """
    known = {each.name: each for each in PLAN}
    if name not in known:
        raise InputError(f"unknown condition {name}; expected one of {', '.join(known)}")
    return known[name]


def chosen(names: Collection[str]) -> list[Condition]:
    """Return the conditions of these names or groups in the order of the plan; all of them if none is given.

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
    """Yield every condition of one seed before any of the next, so that a partial experiment is balanced."""
    return ((each, seed) for seed in range(seeds) for each in conditions if not (seed and each.is_start))
