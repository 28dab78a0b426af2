"""Creating and listing the networks of this library; the same names work in `timm.create_model`."""

from __future__ import annotations

import difflib
import fnmatch
from pathlib import Path
from typing import Any

import timm
from torch import nn

from qcs.errors import InputError
from qcs.models import ir, zoo
from qcs.models._hub import HUB_PREFIX, fetch_config, folder_config
from qcs.models.checkpoint import load_checkpoint
from qcs.models.network import stated_arguments

SOURCES = (HUB_PREFIX, "local-dir:")  # of names that mean a repository on the Hub or on disk, as in timm
_CFGS = [f"{name}.{tag}" for module in (ir, zoo) for name, d in module.default_cfgs.items() for tag in d.tags]


def create_model(
    name: str, pretrained: bool = False, *, checkpoint_path: str | Path | None = None, **kwargs: Any
) -> nn.Module:
    """Create a network by name.

    Args:
        name: `architecture` or `architecture.tag`, see `list_models`; `hf-hub:ORG/NAME`, optionally with `@REVISION`,
            for the network of a repository on the Hub; `local-dir:FOLDER` for that of its folder on disk.
        pretrained: Load the weights of the tag, or of the repository. With other `num_classes` than theirs the heads
            start fresh, with other `in_chans` the first convolution is adapted.
        checkpoint_path: Weights to load instead, strictly, see `load_checkpoint`.
        **kwargs: Arguments of the network, `num_classes`, `in_chans`, `scope`, ...

    Returns:
        The network, in training mode.

    Raises:
        InputError: If the name or an argument is unknown, or there are no weights to load.
        OSError: If weights cannot be fetched.

    Example:
        >>> import qcs
        >>> model = qcs.create_model("qcs_nano", num_classes=8, in_chans=1)
        >>> model.num_classes
        8
    """
    if name.startswith(SOURCES):
        name = _checked_source(name, kwargs.get("cache_dir"))
    else:
        _check_name(name)
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained and checkpoint_path is None, **kwargs)
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            raise InputError(f"{name}: {str(error).partition(') ')[2] or error}") from error
        raise
    if checkpoint_path is not None:
        load_checkpoint(model, checkpoint_path)
    return model


def _checked_source(name: str, cache_dir: str | Path | None) -> str:
    """The name of a repository or its folder, with the commit that its configuration was read from."""
    source, _, place = name.partition(":")
    if source == "hf-hub":
        config, place = fetch_config(place, cache_dir)
    else:
        config = folder_config(Path(place))
    architecture = config.get("architecture")
    if architecture not in list_models():
        raise InputError(
            f"{name} holds a {architecture}, which is no network of this library; use timm.create_model, or one of "
            f"{', '.join(list_models())}"
        )
    if not architecture.startswith("ir"):
        stated_arguments(config.get("model_args", {}), name)
    return f"{source}:{place}"


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
        ['qcs_any', 'qcs_ir50', 'qcs_nano', 'qcs_small']
    """
    names = [name for module in ("ir", "zoo") for name in timm.list_models(module=module)]
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
