"""Define the forms of comparison that gate and arms test: second classifiers that differ in their partner images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor, nn

from qcs.errors import check_choice
from qcs.layers import ContrastiveResidualDistillation, ExemplarCrossModule, QuadrupletCrossModule
from qcs.models import CrossSimilarityNetwork
from qcs.samplers.class_index import ClassIndex, Indices

Form: TypeAlias = Literal["sham", "exemplars", "label-drawn"]
"""Uniform attention, which compares nothing; one exemplar of every class; partners drawn by label, as published."""

FORMS: tuple[Form, ...] = get_args(Form)
PARTNERS = 3  # of a quadruplet: positive, negative, second negative


class CrossPart(nn.Module):
    """Second classifier: compares an image's tokens with those of partner images, as the cross part of a QCS network.

    Every form has the same modules, sizes and order of random initialization; only the attention differs. Quadruplet
    modules have one more number per level, their gain.

    Args:
        form: The form of comparison.
        base: The network whose tokens are classified; gives the sizes.
        drop_rate: Dropout of the second classifier's transformer.
    """

    def __init__(self, form: Form, base: CrossSimilarityNetwork, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.form: Form = check_choice("form", form, FORMS)
        args = base.model_args
        dim, ratio, levels = args["embed_dim"], args["mlp_ratio"], len(base.feature_info)
        self.levels = nn.ModuleList(self._level(dim, ratio) for _ in range(levels))
        self.classifier = ContrastiveResidualDistillation(
            dim,
            levels * args["grid_size"] ** 2,
            args["num_classes"],
            depth=args["cross_depth"],
            num_heads=args["num_heads"],
            mlp_ratio=ratio,
            drop_rate=drop_rate,
        )

    def _level(self, dim: int, mlp_ratio: float) -> nn.Module:
        if self.form == "label-drawn":
            return QuadrupletCrossModule(dim, mlp_ratio=mlp_ratio)
        attention: Literal["csa", "uniform"] = "csa" if self.form == "exemplars" else "uniform"
        return ExemplarCrossModule(dim, attention=attention, mlp_ratio=mlp_ratio)

    def forward(self, features: Tensor, partners: Sequence[Tensor]) -> Tensor:
        """Return cross logits (B, classes).

        Args:
            features: Tokens of the images, all levels one after another, (B, levels * N, C).
            partners: Tokens that the images are compared with: `[exemplars]`, one image of each class, for "sham" and
                "exemplars"; `[positives, negatives, second negatives]`, each as `features`, for "label-drawn".
        """
        parts = [each.chunk(len(self.levels), dim=1) for each in (features, *partners)]
        refined = [
            self._refined(level, tokens) for level, tokens in zip(self.levels, zip(*parts, strict=True), strict=True)
        ]
        logits: Tensor = self.classifier(features, torch.cat(refined, dim=1))
        return logits

    def _refined(self, level: nn.Module, tokens: Sequence[Tensor]) -> Tensor:
        refined: Tensor = level(*tokens)[0] if self.form == "label-drawn" else level(*tokens)
        return refined


def partners_in_batch(
    form: Form, features: Tensor, labels: Indices, exemplars: int, seed: Sequence[int]
) -> list[Tensor]:
    """Return the partners of all images of a batch but its exemplars, from the batch itself.

    Args:
        form: The form of comparison.
        features: Tokens of a batch of `ClassBatchSampler`, (B, N, C); the first are one image of each class.
        labels: Class of each image, (B,).
        exemplars: Number of classes.
        seed: Of the draw of partner images by label.
    """
    if form != "label-drawn":
        return [features[:exemplars]]
    rows = partners_by_label(ClassIndex(labels), np.arange(exemplars, len(labels)), np.random.default_rng(seed))
    return [features[torch.from_numpy(each)] for each in rows]


def partners_by_label(
    index: ClassIndex, anchors: Indices, rng: np.random.Generator
) -> tuple[Indices, Indices, Indices]:
    """Draw partner images as `QuadrupletSampler` does: of the anchor's class, of another class, of that class again.

    Args:
        index: The images to draw from, among them the anchors.
        anchors: Rows of the anchors, (B,).
        rng: Source of randomness.
    """
    positives = index.draw_same_class(rng, anchors)
    negatives = index.draw_cross_class(rng, anchors)
    return positives, negatives, index.draw_same_class(rng, negatives)
