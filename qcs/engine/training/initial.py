"""Read from weights to start from what they imply of a training: the network, its channels and its resize."""

from __future__ import annotations

from typing import Any, cast

import torch
from timm.models import get_pretrained_cfg

from qcs.errors import InputError, brief
from qcs.models import Classifier, create_model, list_models
from qcs.models.factory import class_of
from qcs.models.peers import PeerNetwork
from qcs.models.stated_arguments import stated_arguments
from qcs.models.weights import find_weights, read_config

OWN_SETTINGS = ("branches", "num_classes", "in_chans")  # arguments that are not taken over as `model_args`


def implied_settings(init: str) -> dict[str, Any]:
    """Return the settings of a training that initial weights state.

    Args:
        init: What names the weights, see `qcs.models.find_weights`.

    Returns:
        `model`, `model_args` (only those that differ from the network's defaults), `in_chans` and `resize`; empty for
        weights without metadata, such as a checkpoint of the original.

    Raises:
        InputError: If there are no such weights, or they are of an unknown network.
        OSError: If they cannot be downloaded.

    Example:
        >>> implied_settings("qcs_small")
        {'model': 'qcs_small', 'model_args': {}, 'in_chans': 1, 'resize': 54}
    """
    path = find_weights(init)
    try:
        stated = read_config(path)
    except InputError:  # the network is not stated; what is wrong with the file is reported when it is loaded
        return {}
    name, cfg = stated["architecture"], stated["pretrained_cfg"]
    if name not in list_models():
        raise InputError(
            f"{path} is of {brief(repr(name))}, which is no network of this version: {', '.join(list_models())}"
        )
    arguments = stated_arguments(stated["model_args"], str(path), class_of(name))
    model = _with_tag(name, cfg.get("tag"))
    in_chans, (*_, side) = arguments.get("in_chans", 3), cfg["input_size"]
    crop_pct = cfg.get("crop_pct", 1.0)
    if issubclass(class_of(name), PeerNetwork) and get_pretrained_cfg(name).input_size[-1] != side:
        arguments["img_size"] = side  # some peers take images of any size: their arguments do not tell it
    return {
        "model": model,
        "model_args": _unlike_defaults(model, arguments),
        "in_chans": in_chans,
        "resize": round(side / crop_pct) if crop_pct < 1 else None,
    }


def _with_tag(name: str, tag: str | None) -> str:
    """Return the name with its tag, unless the tag is unknown or the name means it anyway."""
    default = get_pretrained_cfg(name)
    means_it = default is not None and default.tag == tag
    return f"{name}.{tag}" if not means_it and f"{name}.{tag}" in list_models(tags=True) else name


def _unlike_defaults(model: str, arguments: dict[str, Any]) -> dict[str, Any]:
    with torch.device("meta"):
        default = cast(Classifier, create_model(model)).resolved_args
    unlike = {name: value for name, value in arguments.items() if value != default.get(name)}
    return {name: value for name, value in unlike.items() if name not in OWN_SETTINGS and value is not None}
