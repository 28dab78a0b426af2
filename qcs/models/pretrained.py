"""The full name of a network about to be built, and whether there are weights for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm.models import resolve_pretrained_cfg

from qcs.errors import InputError


def full_name(variant: str, pretrained: bool, kwargs: Mapping[str, Any]) -> str:
    """The `architecture.tag` that the arguments of `timm.create_model` resolve to.

    Raises:
        InputError: If its weights are asked for and there are none.
    """
    cfg = resolve_pretrained_cfg(variant, kwargs.get("pretrained_cfg"), kwargs.get("pretrained_cfg_overlay"))
    name = f"{variant}.{cfg.tag}"
    if pretrained and not (cfg.has_weights or cfg.source):
        raise InputError(
            f"no pretrained weights for {name}: none are embedded in the package and its configuration names no Hub "
            "repository; load a file with checkpoint_path=... or train with 'qcs train'"
        )
    return name
