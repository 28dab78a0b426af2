"""Weights files of this library: safetensors that know how to rebuild their network and how to prepare its images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from qcs.errors import InputError
from qcs.files import replacing
from qcs.models._hub import local_file
from qcs.models.factory import create_model, list_models
from qcs.models.network import CrossSimilarityNetwork, stated_arguments

METADATA_KEY = "qcs"
NESTED = ("model_args", "pretrained_cfg", "info")
# Entries of timm's metadata that name other sources of weights: a file that could set them could have others loaded.
SOURCES = ("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "custom_load")


def save_model(model: CrossSimilarityNetwork, path: str | Path, *, info: Mapping[str, Any] | None = None) -> Path:
    """Write a network's weights with everything needed to use them; the file appears whole or not at all.

    Args:
        model: The network; class names and preprocessing are those of its `pretrained_cfg`.
        path: The `.safetensors` file to write.
        info: Anything to keep beside them, for JSON: accuracy, epoch, ...

    Returns:
        The path written.

    Raises:
        InputError: If the network was not created by name.
        OSError: If the file cannot be written.

    Example:
        >>> import qcs, tempfile
        >>> model = qcs.create_model("qcs_nano")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = qcs.load_model(qcs.models.save_model(model, f"{folder}/model.safetensors"))
        >>> again.num_classes
        7
    """
    path = Path(path)
    if "architecture" not in model.pretrained_cfg:
        raise InputError("only a network made by name can be saved, to be rebuilt by it: use qcs.create_model")
    config = {
        "architecture": model.pretrained_cfg["architecture"],
        "model_args": model.model_args,
        "pretrained_cfg": model.pretrained_cfg,
        "info": dict(info or {}),
    }
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as unfinished:
            unfinished.touch()
            mode = unfinished.stat().st_mode  # what new files have here; safetensors' own only their owner can read
            save_file(tensors, unfinished, metadata={METADATA_KEY: json.dumps(config)})
            unfinished.chmod(mode)
    except SafetensorError as error:  # a full disk or a read-only folder reaches us under this name
        raise OSError(f"cannot write {path}: {error}") from error
    return path


def read_config(path: str | Path) -> dict[str, Any]:
    """What a weights file says of itself: architecture, model_args, pretrained_cfg, info.

    Raises:
        InputError: If there is no such file, or it is not one that `save_model` wrote.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no weights file at {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise InputError(f"{path} is not a safetensors file (damaged, or of another format): {error}") from error
    if METADATA_KEY not in metadata:
        raise InputError(f"{path} does not say which network it is for; load it with qcs.load_checkpoint(model, path)")
    try:
        config: dict[str, Any] = json.loads(metadata[METADATA_KEY])
        return {key: dict(config[key]) if key in NESTED else config[key] for key in ("architecture", *NESTED)}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} says damaged things of itself ({type(error).__name__}: {error}); save it anew"
        ) from error


def read_class_names(path: str | Path) -> tuple[str, ...] | None:
    """Class names that a weights file states, in index order; None where it states none."""
    try:
        names = read_config(path)["pretrained_cfg"].get("label_names")
    except InputError:
        return None
    return tuple(names) if names else None


def load_model(source: str | Path) -> CrossSimilarityNetwork:
    """Rebuild a network from its weights file, in evaluation mode.

    Args:
        source: A file that `save_model` wrote, or `hf-hub:ORG/NAME` for the one in a repository on the Hub.

    Returns:
        The network, with its class names and preprocessing in `pretrained_cfg`.

    Raises:
        InputError: If the file is missing, damaged or not one that `save_model` wrote.
        OSError: If it cannot be fetched from the Hub.
    """
    path = local_file(source)
    config = read_config(path)
    cfg = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in config["pretrained_cfg"].items()
        if key not in SOURCES
    }
    name, args = config["architecture"], stated_arguments(config["model_args"], str(path))
    if name not in list_models():  # nothing else may be created by what a file says
        raise InputError(f"{path} is of {name!r}, which is no network of this version: {', '.join(list_models())}")
    try:
        model = create_model(name, pretrained_cfg={**cfg, "architecture": name}, checkpoint_path=path, **args)
    except (TypeError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} says damaged things of itself ({type(error).__name__}: {error})") from error
    return cast(CrossSimilarityNetwork, model.eval())
