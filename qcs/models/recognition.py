"""Which networks a state dict may belong to, as far as its shapes show it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from timm.models import get_pretrained_cfg_value
from torch import Size, Tensor

from qcs.models.checkpoint import IR_BACKBONE, Entries, is_backbone
from qcs.models.factory import create_model, list_models
from qcs.models.original import BILINEAR


def fitting_names(entries: Entries) -> list[str]:
    """Names of the networks that the entries fill exactly, with every tag of their number of classes.

    Shapes do not show the tag: residual stream, dropout and class order are not in the weights.
    """
    head = entries.state.get("base.head.weight")
    if head is None and not is_backbone(entries.state):
        return []
    classes = 0 if head is None else len(head)
    names = []
    for architecture in list_models():
        if _shapes(entries.state) == _shapes_of(architecture, classes):
            tags = list_models(f"{architecture}.*", tags=True)
            fitting = [tag for tag in tags if get_pretrained_cfg_value(tag, "num_classes") == classes]
            names += fitting if len(tags) > 1 and fitting else [architecture]
    if BILINEAR in entries.dropped:
        names = [name for name in names if name.endswith(".affectnet8")]
    return names


@cache
def _shapes_of(architecture: str, num_classes: int) -> dict[str, Size]:
    with torch.device("meta"):
        return _shapes(create_model(architecture, num_classes=num_classes).state_dict())


def _shapes(state: Mapping[str, Tensor]) -> dict[str, Size]:
    """Shapes by name; a backbone by itself goes by its own names."""
    if all(key.startswith(IR_BACKBONE) for key in state):
        return {key.removeprefix(IR_BACKBONE): value.shape for key, value in state.items()}
    return {key: value.shape for key, value in state.items()}
