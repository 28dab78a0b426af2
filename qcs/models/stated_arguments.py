"""Check the network's arguments that a weights file or a repository states."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from torch import nn

from qcs.errors import InputError, brief
from qcs.models.backbone import without_sources
from qcs.models.metadata import check_arguments
from qcs.models.network import NOT_SAVED, CrossSimilarityNetwork


def stated_arguments(
    args: Any, where: str, model_class: Callable[..., nn.Module] = CrossSimilarityNetwork
) -> dict[str, Any]:
    """Check the network's arguments stated by a file or a repository, none of which may load other weights.

    Args:
        args: The arguments, untrusted.
        where: Name of the file or repository, for messages.
        model_class: The class of the network.

    Returns:
        The arguments.

    Raises:
        InputError: If one is unknown, out of range or names other weights.
    """
    if not isinstance(args, dict):
        raise InputError(f"{where} states model arguments that are no dictionary: {brief(repr(args))}")
    known = set(signature(model_class).parameters) - set(NOT_SAVED)
    if unknown := args.keys() - known:
        names = brief(", ".join(sorted(unknown)))
        raise InputError(f"{where} has model arguments that this version does not know: {names}")
    check_arguments(args, where)
    backbone_args = args.get("backbone_args")
    if backbone_args is not None and without_sources(backbone_args) != backbone_args:
        raise InputError(f"{where} names other weights in its backbone_args, which is refused; use a file without them")
    return args
