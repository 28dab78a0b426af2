"""The methods that timm expects of a backbone, for networks of a stem, stages and a head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from qcs.errors import InputError, check_choice
from qcs.layers.recompute import recompute
from qcs.typed_call import same_signature


class StagedNetwork(nn.Module):
    """Computes a stem, then stages of units one after another, then a head.

    A subclass builds the parts; this class only runs and describes them.

    Attributes:
        stem: Images to the first feature map.
        stages: A sequence of units each.
        head: Pooling and a linear classifier `fc`.
        feature_info: The feature maps that the network offers, a description for each of the first stages.
        num_classes: Outputs of the head.
        grad_checkpointing: Whether activations are recomputed in the backward pass.
    """

    stem: nn.Module
    stages: nn.Sequential
    head: Any
    feature_info: list[dict[str, Any]]
    num_classes: int
    grad_checkpointing: bool

    def forward_stem(self, x: Tensor) -> Tensor:
        """Return the first feature map of images (B, C, H, W)."""
        out: Tensor = self.stem(x)
        return out

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return patterns that order the parameters from input to output, for layer-wise learning rates."""
        return dict(stem=r"^stem", blocks=r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)")

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass instead of storing them; running statistics stay exact."""
        self.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """Return the linear head."""
        classifier: nn.Module = self.head.fc
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head by a freshly initialized one.

        Args:
            num_classes: Number of classes; 0 removes the head.
            global_pool: Pooling before the head, as at creation; None keeps it.
        """
        self.num_classes = num_classes
        self.head.reset(num_classes, pool_type=global_pool)

    @overload
    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: Literal[False] = False,
    ) -> tuple[Tensor, list[Tensor]]: ...

    @overload
    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        *,
        intermediates_only: Literal[True],
    ) -> list[Tensor]: ...

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the feature maps of chosen stages, with timm's arguments.

        Args:
            x: Images (B, C, H, W).
            indices: The stages, or how many of the last ones; None for all. `feature_info` describes them.
            norm: No effect: the network has no final norm.
            stop_early: Skip the stages after the last chosen one.
            output_fmt: Only "NCHW".
            intermediates_only: Return the maps alone.

        Returns:
            The maps (B, C_stage, H, W), or a pair of the last computed map and the maps.

        Raises:
            InputError: If another output format is requested.
        """
        check_choice("output_fmt", output_fmt, ("NCHW",))
        taken, last = feature_take_indices(len(self.feature_info), indices)
        levels = self.forward_levels(x, last + 1 if stop_early else len(self.stages))
        maps = [levels[index] for index in taken]
        return maps if intermediates_only else (levels[-1], maps)

    def forward_levels(self, x: Tensor, count: int) -> list[Tensor]:
        """Return the feature maps of the first `count` stages for images (B, C, H, W)."""
        x = self.forward_stem(x)
        levels = []
        for stage in self.stages[:count]:
            x = self._run_stage(stage, x)
            levels.append(x)
        return levels

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the stages after the last one in `indices`, and the head; return the chosen stages' positions."""
        taken, last = feature_take_indices(len(self.feature_info), indices)
        self.stages = self.stages[: last + 1]
        if prune_head:
            self.reset_classifier(0, "")
        return list(taken)

    def __prepare_scriptable__(self) -> StagedNetwork:
        raise InputError("torch.jit.script cannot compile this network; use torch.jit.trace")

    def _run_stage(self, stage: nn.Module, x: Tensor) -> Tensor:
        if not (self.grad_checkpointing and self.training and torch.is_grad_enabled()):
            out: Tensor = stage(x)
            return out
        for unit in stage.children():
            x = recompute(unit, x)
        return x

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature map of images (B, C, H, W)."""
        x = self.forward_stem(x)
        for stage in self.stages:
            x = self._run_stage(stage, x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, classes) of the last feature map, or pooled features (B, C)."""
        out: Tensor = self.head(x, pre_logits=pre_logits)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes) of images (B, C, H, W)."""
        return self.forward_head(self.forward_features(x))

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...
