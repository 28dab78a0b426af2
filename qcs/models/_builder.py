"""Building networks as timm's `build_model_with_cfg` does, with weights that are checked before they are loaded.

timm loads them, so its conventions hold: other classes than the weights' get fresh heads, other channels an adapted
first convolution.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from timm.models import PretrainedCfg, build_model_with_cfg, get_pretrained_cfg, resolve_pretrained_cfg
from torch import Tensor, nn

from qcs.errors import InputError
from qcs.models import weights
from qcs.models._hub import WEIGHTS, fetch_weights
from qcs.models.checkpoint import fitting_state

ModelT = TypeVar("ModelT", bound=nn.Module)


def resolve(variant: str, kwargs: Mapping[str, Any]) -> tuple[str, PretrainedCfg]:
    """Return the `architecture.tag` that arguments of `timm.create_model` mean, and its configuration."""
    cfg = resolve_pretrained_cfg(variant, kwargs.get("pretrained_cfg"), kwargs.get("pretrained_cfg_overlay"))
    return (f"{variant}.{cfg.tag}" if cfg.tag else variant), cfg


def build(model_class: Callable[..., ModelT], variant: str, pretrained: bool, **kwargs: Any) -> ModelT:
    """Build a network as timm's `build_model_with_cfg` does, with weights from where this library keeps them.

    Args:
        model_class: The class of the network.
        variant: Its registered name, without tag.
        pretrained: Load weights.
        **kwargs: As for timm.

    Returns:
        The network; its `pretrained_cfg` names the Hub repository of its weights, but no file of this machine.

    Raises:
        InputError: If there are no weights, or they are not those that the configuration describes.
        OSError: If they cannot be downloaded.
    """
    origin = {}
    if pretrained:
        name, cfg = resolve(variant, kwargs)
        path = _pretrained_file(name, cfg, kwargs.get("cache_dir"))
        _check_readable(path)
        local = dataclasses.replace(cfg, file=str(path), source=None, hf_hub_id=None, hf_hub_filename=None, url=None)
        headless = kwargs.get("features_only", False)
        kwargs |= {
            "pretrained_cfg": local.to_dict(),
            "pretrained_cfg_overlay": None,
            "pretrained_filter_fn": partial(_fitting, cfg=cfg, path=path, headless=headless),
        }
        origin = {"hf_hub_id": cfg.hf_hub_id, "source": cfg.source}
    model: Any = build_model_with_cfg(model_class, variant, pretrained, **kwargs)
    model.pretrained_cfg = {key: value for key, value in model.pretrained_cfg.items() if key != "file"}
    model.pretrained_cfg |= {key: value for key, value in origin.items() if value}
    model.default_cfg = model.pretrained_cfg
    if pretrained and not headless and model.num_classes == cfg.num_classes:
        model.calibration = weights.read_calibration(path, model.num_classes)
    return model


def fitted_cfg(cfg: Mapping[str, Any], model: Any, channels: int) -> dict[str, Any]:
    """Return timm's metadata, adapted to the classes of a model and to the channels of its images."""
    # JSON turns tuples into lists.
    fitted = {key: tuple(value) if isinstance(value, list) else value for key, value in cfg.items()}
    fitted |= {"num_classes": model.num_classes, "input_size": (channels, *fitted["input_size"][1:])}
    for key in ("mean", "std"):
        if len(fitted[key]) != channels:
            fitted[key] = (sum(fitted[key]) / len(fitted[key]),) * channels
    if len(fitted.get("label_names", ())) != model.num_classes:
        fitted.pop("label_names", None)
    parameters = model.state_dict()
    heads = (fitted["classifier"],) if isinstance(fitted["classifier"], str) else fitted["classifier"]
    fitted["classifier"] = tuple(head for head in heads if f"{head}.weight" in parameters)
    return fitted


def _pretrained_file(name: str, cfg: PretrainedCfg, cache_dir: str | Path | None) -> Path:
    """Return the weights file of a configuration, on this machine.

    Looks in this order: the folder, file or repository that the caller named; the weights shipped with the package; the
    Hub repository that the registered configuration names.

    Args:
        name: `architecture.tag`.
        cfg: timm's configuration.
        cache_dir: Cache of downloads; None uses that of huggingface_hub.

    Raises:
        InputError: If there are none.
        OSError: If they cannot be downloaded.
    """
    if cfg.source == "local-dir":
        return weights.find_weights(f"{weights.FOLDER_PREFIX}{cfg.file}")
    registered = get_pretrained_cfg(name, allow_unregistered=True) or PretrainedCfg()
    # The configuration of a repository may not name a file of this machine.
    if cfg.file and cfg.file != registered.file and cfg.source != "hf-hub":
        return Path(cfg.file)
    named_by_caller = cfg.hf_hub_id and cfg.hf_hub_id != registered.hf_hub_id
    if not named_by_caller and (shipped := weights.embedded_weights(name)):
        return shipped
    if cfg.hf_hub_id:
        return fetch_weights(cfg.hf_hub_id, cfg.hf_hub_filename or WEIGHTS, cache_dir)
    raise InputError(weights.missing_weights(name))


def _check_readable(path: Path) -> None:
    """Check that a file is complete safetensors, whose header accounts for every byte. Pickles are not read here."""
    if not path.is_file():
        raise InputError(f"no weights file at {path}")
    if path.suffix != ".safetensors":
        raise InputError(
            f"pretrained weights must be a .safetensors file, got {path}; load it with checkpoint_path=..."
        )
    try:
        with safe_open(path, "pt"):
            pass
    except SafetensorError as error:
        raise InputError(
            f"{path} is not a complete safetensors file (truncated, or of another format): {error}"
        ) from error


def _fitting(
    state: Mapping[str, Tensor], model: nn.Module, *, cfg: PretrainedCfg, path: Path, headless: bool
) -> dict[str, Tensor]:
    """Return the state dict in the model's layout, after checking that all that timm does not replace fits."""
    heads = (cfg.classifier,) if isinstance(cfg.classifier, str) else tuple(cfg.classifier or ())
    replaced: set[str] = set()
    if headless or getattr(model, "num_classes", 0) != cfg.num_classes:
        replaced |= {f"{head}.{kind}" for head in heads for kind in ("weight", "bias")}
    else:
        _check_classes(state, heads, cfg, path)
    first_conv = f"{cfg.first_conv}.weight"
    channels = cfg.input_size[0]
    if first_conv in state and state[first_conv].shape[1] != channels:
        raise InputError(
            f"{path} takes images of {state[first_conv].shape[1]} channels, its configuration says {channels}"
        )
    if first_conv in state and model.state_dict()[first_conv].shape[1] != channels:
        replaced.add(first_conv)
    return fitting_state(model, state, str(path), replaced)


def _check_classes(state: Mapping[str, Tensor], heads: tuple[str, ...], cfg: PretrainedCfg, path: Path) -> None:
    found = next((len(state[f"{head}.weight"]) for head in heads if f"{head}.weight" in state), None)
    if found is not None and found != cfg.num_classes:
        raise InputError(
            f"{path} holds weights for {found} classes, the configuration of {cfg.architecture} says "
            f"{cfg.num_classes}: they do not belong together; qcs.load_model reads a file by its own configuration, "
            "and 'hf-hub:ORG/NAME' a repository by its own"
        )
