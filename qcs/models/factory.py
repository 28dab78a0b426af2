"""Creating and listing the networks of this library; the same names work in `timm.create_model`."""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from qcs.errors import InputError
from qcs.models import ir, zoo
from qcs.models.checkpoint import load_checkpoint
from qcs.models.network import CrossSimilarityNetwork

_CFGS = [f"{name}.{tag}" for cfgs in (ir.default_cfgs, zoo.default_cfgs) for name, d in cfgs.items() for tag in d.tags]


def create_model(
    name: str, pretrained: bool = False, *, checkpoint_path: str | Path | None = None, **kwargs: Any
) -> nn.Module:
    """Create a network by name.

    Args:
        name: `architecture` or `architecture.tag`, see `list_models`.
        pretrained: Load the weights of the tag.
        checkpoint_path: Weights to load instead, see `load_checkpoint`.
        **kwargs: Arguments of the network, `num_classes`, `in_chans`, `scope`, ...

    Returns:
        The network, in training mode.

    Raises:
        InputError: If the name or an argument is unknown, or there are no weights to load.

    Example:
        >>> import qcs
        >>> model = qcs.create_model("qcs_nano", num_classes=8, in_chans=1)
        >>> model.num_classes
        8
    """
    _check_name(name)
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **kwargs)
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            raise InputError(f"{name}: {str(error).partition(') ')[2] or error}") from error
        raise
    if checkpoint_path is not None:
        load_checkpoint(model, checkpoint_path)
    return model


def list_models(pattern: str = "*", *, tags: bool = False) -> list[str]:
    """Names of the networks of this library.

    Args:
        pattern: Shell-style pattern, as in `"qcs*"`.
        tags: List `architecture.tag` instead of architectures.

    Returns:
        Sorted names.

    Example:
        >>> import qcs
        >>> qcs.list_models("qcs*")
        ['qcs_ir50', 'qcs_nano']
    """
    names = timm.list_models(module="ir") + timm.list_models(module="zoo")
    if tags:
        names = [f"{name}.{tag}" for name in names for tag in _tags(name)]
    return sorted(name for name in names if fnmatch.fnmatch(name, pattern))


def _tags(architecture: str) -> list[str]:
    return [tag for name, _, tag in (cfg.partition(".") for cfg in _CFGS) if name == architecture]


def _check_name(name: str) -> None:
    architecture, _, tag = name.partition(".")
    if architecture not in list_models():
        close = difflib.get_close_matches(architecture, list_models(), n=3, cutoff=0.4)
        raise InputError(f"unknown model {name!r}; did you mean {' or '.join(close or list_models())}?")
    if tag and tag not in _tags(architecture):
        raise InputError(f"unknown tag {tag!r} of {architecture}; expected one of {', '.join(_tags(architecture))}")


@dataclass(frozen=True)
class ModelSummary:
    """One line about a network.

    Attributes:
        name: `architecture` or `architecture.tag`.
        parameters: Parameters in training.
        inference: Parameters at inference, without the cross part.
        input_size: Channels and side of its images, in pixels.
        classes: Class names that the name fixes.
    """

    name: str
    parameters: int
    inference: int
    input_size: str
    classes: str


def describe_models(pattern: str = "*") -> list[ModelSummary]:
    """Summaries of the networks whose `architecture.tag` matches a shell-style pattern; nothing is allocated."""
    architectures = set(list_models(pattern))
    names = {*list_models(pattern, tags=True), *(n for n in list_models(tags=True) if n.split(".")[0] in architectures)}
    return [_describe(name) for name in sorted(names)]


def _describe(name: str) -> ModelSummary:
    with torch.device("meta"):
        model = create_model(name)
    base = model.inference_model() if isinstance(model, CrossSimilarityNetwork) else model
    cfg: Any = model.pretrained_cfg
    channels, side, _ = cfg["input_size"]
    return ModelSummary(
        name,
        parameters=sum(p.numel() for p in model.parameters()),
        inference=sum(p.numel() for p in base.parameters()),
        input_size=f"{channels} x {side} px",
        classes=", ".join(cfg.get("label_names", ())) or "any",
    )
