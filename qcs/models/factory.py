"""Creating, listing and loading the networks of this library; the same names work in `timm.create_model`."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import timm
import torch
from safetensors import safe_open
from timm.models import get_pretrained_cfg_value
from torch import Size, Tensor, nn

from qcs.errors import InputError, brief
from qcs.models import dlib_resnet, ir, peers, timm_classifier, zoo
from qcs.models._hub import fetch_config, folder_config
from qcs.models.checkpoint import (
    BASE_HEAD,
    BASE_TOKEN,
    IR_BACKBONE,
    Entries,
    Loaded,
    MisfitError,
    Part,
    fill,
    is_backbone,
    read_entries,
    unwrapped_name,
)
from qcs.models.network import CrossSimilarityNetwork
from qcs.models.original import BILINEAR
from qcs.models.stated_arguments import stated_arguments
from qcs.models.timm_classifier import TimmClassifier
from qcs.models.weights import (
    FOLDER_PREFIX,
    HUB_PREFIX,
    WEIGHT_SOURCES,
    find_weights,
    list_embedded,
    read_calibration,
    read_config,
)

_NAMES = [
    f"{name}.{tag}"
    for module in (dlib_resnet, ir, zoo, timm_classifier, *peers.MODULES)
    for name, cfg in module.default_cfgs.items()
    for tag in cfg.tags
]


def create_model(
    model_name: str, pretrained: bool = False, *, checkpoint_path: str | Path | None = None, **kwargs: Any
) -> nn.Module:
    """Create a network by name.

    Args:
        model_name: `architecture` or `architecture.tag`, see `list_models`; `hf-hub:ORG/NAME`, optionally with
            `@REVISION`, for the network of a repository on the Hub; `local-dir:FOLDER` for that of its folder on disk.
        pretrained: Load the weights of the tag, or of the repository. With other `num_classes` than theirs the heads
            start fresh, with other `in_chans` the first convolution is adapted.
        checkpoint_path: Weights to load instead, strictly, see `load_checkpoint`.
        **kwargs: Arguments of the network, `num_classes`, `in_chans`, `scope`, ...

    Returns:
        The network, in training mode.

    Raises:
        InputError: If the name or an argument is unknown, or there are no weights to load.
        OSError: If weights cannot be downloaded.

    Example:
        >>> import qcs
        >>> model = qcs.create_model("qcs_nano", num_classes=8, in_chans=1)
        >>> model.num_classes
        8
    """
    if model_name.startswith((HUB_PREFIX, FOLDER_PREFIX)):
        model_name = _checked_repository(model_name, kwargs.get("cache_dir"))
    else:
        _check_name(model_name)
    try:
        model: nn.Module = timm.create_model(model_name, pretrained=pretrained and checkpoint_path is None, **kwargs)
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            raise InputError(f"{model_name}: {brief(str(error).partition(') ')[2] or str(error))}") from error
        raise
    except MisfitError as error:
        raise _with_fitting_names(error) from error
    if checkpoint_path is not None:
        load_checkpoint(model, find_weights(checkpoint_path, cache_dir=kwargs.get("cache_dir")))
    return model


def list_models(pattern: str = "*", *, tags: bool = False, pretrained: bool = False) -> list[str]:
    """Return the names of the networks of this library, sorted.

    Args:
        pattern: Shell-style pattern of architectures or, where tags are listed, of `architecture.tag`: `"qcs*"`.
        tags: List `architecture.tag` instead of architectures.
        pretrained: List only names with weights in the package, always with their tag.

    Example:
        >>> import qcs
        >>> qcs.list_models("qcs*")
        ['qcs_any', 'qcs_dlib', 'qcs_ir50', 'qcs_nano', 'qcs_small']
        >>> qcs.list_models("qcs*", pretrained=True)
        ['qcs_small.ferplus']
    """
    names = list_embedded() if pretrained else _NAMES if tags else list({_architecture(name) for name in _NAMES})
    return sorted(n for n in names if fnmatch.fnmatch(n, pattern) or fnmatch.fnmatch(_architecture(n), pattern))


def load_model(source: str | Path) -> CrossSimilarityNetwork:
    """Rebuild a network from its weights file, in evaluation mode.

    Args:
        source: What names the weights, see `qcs.models.find_weights`: the name of shipped weights, a run folder, a
            file that `save_model` wrote, `hf-hub:ORG/NAME[@REVISION]` or `local-dir:FOLDER`.

    Returns:
        The network, with its class names and preprocessing in `pretrained_cfg`, and its calibration in `calibration`.

    Raises:
        InputError: If there are no such weights, or they are corrupt or not of a network of this library.
        OSError: If they cannot be downloaded.

    Example:
        >>> import qcs
        >>> qcs.load_model("qcs_small").class_names[:3]
        ('neutral', 'happy', 'surprise')
    """
    path = find_weights(source)
    config = read_config(path)
    cfg = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in config["pretrained_cfg"].items()
        if key not in WEIGHT_SOURCES
    }
    name = config["architecture"]
    if name not in list_models():  # a file may not have anything else created
        known = ", ".join(list_models())
        raise InputError(f"{path} is of {brief(repr(name))}, which is no network of this version: {known}")
    args = stated_arguments(config["model_args"], str(path), class_of(name))
    _check_counts(path, args)
    try:
        model = create_model(name, pretrained_cfg={**cfg, "architecture": name}, checkpoint_path=path, **args)
    except (InputError, OSError):
        raise
    except Exception as error:  # the arguments reach timm and PyTorch, which raise errors of any kind
        raise InputError(f"{path} has corrupt metadata ({brief(f'{type(error).__name__}: {error}')})") from error
    names = cfg.get("label_names")
    if names is not None and len(names) != model.num_classes:
        raise InputError(f"{path} names {len(names)} classes, its weights are for {model.num_classes}")
    network = cast(CrossSimilarityNetwork, model.eval())
    network.calibration = read_calibration(path, network.num_classes)
    return network


def class_of(architecture: str) -> type[nn.Module]:
    """Return the class whose arguments weights of a registered network may state."""
    if architecture == timm_classifier.NAME:
        return TimmClassifier
    return peers.CLASSES.get(architecture, CrossSimilarityNetwork)


def _check_counts(path: Path, args: Mapping[str, Any]) -> None:
    """Check stated sizes against the shapes in the file, before a network of these sizes is built."""
    with safe_open(path, "pt") as file:
        names = [unwrapped_name(name) for name in file.keys()]  # noqa: SIM118 (not a dict)
        tokens = {unwrapped_name(name): name for name in file.keys()}.get(BASE_TOKEN)  # noqa: SIM118
        width = file.get_slice(tokens).get_shape()[-1:] if tokens else []
    blocks = len({name.split(".")[2] for name in names if re.match(r"base\.blocks\.\d+\.", name)})
    held = {"base_depth": blocks, "embed_dim": width[0] if width else None}
    for argument, value in held.items():
        if argument in args and value is not None and args[argument] != value:
            raise InputError(f"{path} states {argument} {args[argument]}, its weights have {value}")


def load_checkpoint(model: nn.Module, source: str | Path | Mapping[str, Any], *, part: Part | None = None) -> Loaded:
    """Load weights into a model strictly: every parameter is filled, nothing is left over.

    Takes our own layout or that of the original's checkpoints, whose unused entries are left out; also with `module.`
    or `_orig_mod.` in its names, or inside a training checkpoint. A base network takes a full checkpoint and leaves out
    its cross part, an `ir50` takes any with such a backbone. Pickled files are read without running what they name:
    objects of unknown classes beside the weights, as in the original's files, are replaced by inert placeholders; files
    that name what runs programs, or that cannot be read so, are refused.

    Args:
        model: The network to fill; it keeps its dtype and device.
        source: A state dict, or what names weights, see `qcs.models.find_weights`; the file may be a `.safetensors` or
            PyTorch file.
        part: What to fill, as strictly, from weights with or without more: `"backbone"` only the backbone of a
            network, `"base"` all of it but the cross part, to continue a trained base network with comparisons; None
            fills everything.

    Returns:
        How many entries of the source matched, and how many were dropped and why.

    Raises:
        InputError: If the source cannot be read or does not fit the model; the names of the entries are given.
        OSError: If the weights cannot be downloaded.

    Example:
        >>> import qcs
        >>> model, other = qcs.create_model("qcs_nano"), qcs.create_model("base_nano")
        >>> print(qcs.load_checkpoint(other, model.state_dict()))
        90 of 145 entries matched, 55 left out (cross part, not in a base network)
    """
    return load_entries(model, read_entries(source if isinstance(source, Mapping) else find_weights(source)), part)


def load_entries(model: nn.Module, entries: Entries, part: Part | None = None) -> Loaded:
    """Load entries that are read already, see `load_checkpoint`."""
    try:
        return fill(model, entries, part)
    except MisfitError as error:
        raise _with_fitting_names(error) from error


def fitting_names(entries: Entries) -> list[str]:
    """Return the names of the networks that entries fill exactly, with every tag of their number of classes.

    Shapes do not show the tag: residual stream, dropout and class order are not in the weights.
    """
    head = entries.state.get(BASE_HEAD)
    if head is None and not is_backbone(entries.state):
        return _fitting_peers(entries.state)
    classes = 0 if head is None else len(head)
    names = []
    for architecture in (name for name in list_models() if name not in peers.CLASSES):
        if _shapes(entries.state) == _shapes_of(architecture, classes):
            tags = list_models(f"{architecture}.*", tags=True)
            fitting = [tag for tag in tags if get_pretrained_cfg_value(tag, "num_classes") == classes]
            names += fitting if len(tags) > 1 and fitting else [architecture]
    if not names and head is None:
        names = _fitting_trunks(entries.state)
    if BILINEAR in entries.dropped:
        names = [name for name in names if name.endswith(".affectnet8")]
    return names


def _fitting_trunks(state: Mapping[str, Tensor]) -> list[str]:
    """Return the peers with a trunk of these shapes."""
    shapes = {key.removeprefix(IR_BACKBONE): value.shape for key, value in state.items()}
    return [name for name in peers.CLASSES if shapes.items() <= _shapes_of(name, 7).items()]


def _fitting_peers(state: Mapping[str, Tensor]) -> list[str]:
    names = []
    for name in (name for name in list_models(tags=True) if _architecture(name) in peers.CLASSES):
        heads: Any = get_pretrained_cfg_value(name, "classifier")
        head = state.get(f"{heads if isinstance(heads, str) else heads[0]}.weight")
        free = name.endswith(".untrained")  # any number of classes
        if head is None or not (free or get_pretrained_cfg_value(name, "num_classes") == len(head)):
            continue
        if _shapes(state) == _shapes_of(name, len(head)):
            names.append(name)
    return names


def _with_fitting_names(error: MisfitError) -> InputError:
    """Return the error with the names of the networks that the entries would fit."""
    names = [name for name in fitting_names(error.entries) if name != error.name]
    return InputError(f"{error}. Its shapes are those of {' or '.join(names)}") if names else error


@cache
def _shapes_of(architecture: str, num_classes: int) -> dict[str, Size]:
    with torch.device("meta"):
        return _shapes(create_model(architecture, num_classes=num_classes).state_dict())


def _shapes(state: Mapping[str, Tensor]) -> dict[str, Size]:
    """Return shapes by name; those of a backbone alone by its own names."""
    if all(key.startswith(IR_BACKBONE) for key in state):
        return {key.removeprefix(IR_BACKBONE): value.shape for key, value in state.items()}
    return {key: value.shape for key, value in state.items()}


def _checked_repository(name: str, cache_dir: str | Path | None) -> str:
    """Return the name of a repository or its folder, with the commit that its configuration was read from."""
    source, _, place = name.partition(":")
    if name.startswith(HUB_PREFIX):
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
        stated_arguments(config.get("model_args", {}), name, class_of(architecture))
    return f"{source}:{place}"


def _check_name(name: str) -> None:
    architecture, _, tag = name.partition(".")
    if architecture not in list_models():
        close = difflib.get_close_matches(architecture, list_models(), n=3, cutoff=0.4)
        raise InputError(f"unknown model {name!r}; did you mean {' or '.join(close or list_models())}?")
    tags = [full.partition(".")[2] for full in _NAMES if _architecture(full) == architecture]
    if tag and tag not in tags:
        raise InputError(f"unknown tag {tag!r} of {architecture}; expected one of {', '.join(tags)}")


def _architecture(name: str) -> str:
    return name.partition(".")[0]
