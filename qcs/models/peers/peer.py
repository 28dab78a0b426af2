"""The anatomy that all peer networks share, and how a registered name builds one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from inspect import signature
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from qcs.errors import check_choice
from qcs.layers.resize import square_side
from qcs.models._builder import build, fitted_cfg, resolve
from qcs.models.named_classes import NamedClasses
from qcs.models.staged import StagedNetwork

LEVELS = (-3, -2, -1)
NO_WEIGHT_DECAY = ("cls_token", "pos_embed", "relative_position_bias_table")


class PeerHead(nn.Module):
    """Base of the heads: all after the trunk's last feature map, up to the logits.

    Attributes:
        fc: The linear classifier whose logits are the prediction; an identity without classes.
    """

    fc: nn.Module

    def reset(self, num_classes: int) -> None:
        """Replace what depends on the number of classes by freshly initialized layers; 0 removes it."""
        raise NotImplementedError  # each network has its own


class PeerNetwork(NamedClasses, StagedNetwork):
    """Computes a stem, stages and a head of its own; training may need more than the logits, see `forward_outputs`.

    A subclass builds the parts, names the modules that only its objective needs in `training_only`, and defines
    `forward_outputs` and `objective`.

    Attributes:
        training_only: Names of modules that the logits do not depend on.
        after_stages: Names of modules, beside the head, that the stages' maps do not depend on.
        branches: Images that one call compares: none, each image is classified by itself.
    """

    training_only: tuple[str, ...] = ()
    after_stages: tuple[str, ...] = ()
    branches = 1

    def __init__(self) -> None:
        super().__init__()
        self.model_args: dict[str, Any] = {}  # what rebuilds this network
        self.pretrained_cfg: dict[str, Any] = {}  # timm's metadata: preprocessing, label names, origin

    @property
    def resolved_args(self) -> dict[str, Any]:
        """Arguments that rebuild this network: all of them."""
        return self.model_args

    def forward_outputs(self, x: Tensor) -> object:
        """Return what the objective needs for images (B, C, H, W)."""
        raise NotImplementedError  # each network has its own

    def objective(self, class_counts: Tensor | None = None, **options: Any) -> nn.Module:
        """Return a fresh objective of this network.

        Called with outputs of `forward_outputs` and labels (B,), it returns its terms by name, among them `loss`. Its
        method `prediction` returns the logits (B, classes) among the outputs.

        Args:
            class_counts: Training images of each class (classes,), for an objective that weighs the classes.
            **options: Settings of the objective.
        """
        raise NotImplementedError  # each network has its own

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters to exclude from weight decay."""
        return {name for name, _ in self.named_parameters() if name.endswith(NO_WEIGHT_DECAY)}

    def trunk_loaded(self) -> int:
        """Set what starts equal to the trunk, after weights were loaded into that; return how many entries."""
        return 0

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifiers by freshly initialized ones.

        Args:
            num_classes: Number of classes; 0 removes them.
            global_pool: Only None: the head pools as published.

        Raises:
            InputError: If `global_pool` is another one.
        """
        check_choice("global_pool", "published" if global_pool is None else global_pool, ("published",))
        self.num_classes = self.model_args["num_classes"] = num_classes
        self.name_classes(None)
        reference = next(self.parameters())
        self.head.reset(num_classes)
        self.head.to(reference.device, reference.dtype)

    def inference_model(self) -> PeerNetwork:
        """Return a copy without what only training needs: the same logits, but `forward_outputs` no longer works."""
        model = copy.deepcopy(self)
        for name in self.training_only:
            setattr(model, name, nn.Identity())
        return model

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the stages after the last one in `indices`, and all after them; return the chosen positions."""
        taken, last = feature_take_indices(len(self.feature_info), indices)
        self.stages = self.stages[: last + 1]
        if prune_head:
            self.num_classes = 0
            self.head = nn.Identity()
            for name in (*self.training_only, *self.after_stages):
                setattr(self, name, nn.Identity())
        return list(taken)


def peer_cfg(**kwargs: Any) -> dict[str, Any]:
    """Return the metadata that peers share, updated by `kwargs`."""
    return {
        "num_classes": 7,
        "input_size": (3, 224, 224),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stem.conv",
        "classifier": "head.fc",
        **kwargs,
    }


def create_peer(
    model_class: type[PeerNetwork],
    variant: str,
    pretrained: bool,
    own_args: Mapping[str, Mapping[str, Any]] | None = None,
    **kwargs: Any,
) -> Any:
    """Build the network of a registered name, or its feature extractor, with metadata that fits it.

    Args:
        model_class: The class of the network.
        variant: The registered name, without tag.
        pretrained: Load weights.
        own_args: Arguments that a name with its tag fixes; the caller's go first.
        **kwargs: As for timm. `img_size`, the side of the images in pixels, goes into the metadata; only some
            networks depend on it.
    """
    name, _ = resolve(variant, kwargs)
    kwargs = {**(own_args or {}).get(name, {}), **kwargs}
    parameters = signature(model_class).parameters
    side = None if kwargs.get("img_size") is None else square_side(kwargs["img_size"])
    if "img_size" not in parameters:
        kwargs.pop("img_size", None)
    features = dict(feature_cls="getter", out_indices=LEVELS)
    model = build(model_class, variant, pretrained, feature_cfg=features, **kwargs)
    if kwargs.get("features_only", False):
        return model
    args = {key: kwargs.get(key, value.default) for key, value in parameters.items()}
    args = {key: tuple(value) if isinstance(value, list) else value for key, value in args.items()}  # JSON's lists
    model.model_args = {**args, "num_classes": model.num_classes}
    model.pretrained_cfg = fitted_cfg(model.pretrained_cfg, model, model.model_args["in_chans"])
    if side is not None:
        model.pretrained_cfg["input_size"] = (model.model_args["in_chans"], side, side)
    model.default_cfg = model.pretrained_cfg
    return model
