"""Building a network with `pretrained=True`: where its weights lie, and that they are those that are meant.

timm loads them, so its conventions hold: other classes than the weights' get fresh heads, other channels an adapted
first convolution.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from timm.models import PretrainedCfg, build_model_with_cfg, get_pretrained_cfg, resolve_pretrained_cfg
from torch import Tensor, nn

from qcs.errors import InputError
from qcs.models._hub import WEIGHTS, fetch_weights, folder_weights

EMBEDDED = Path(__file__).parents[1] / "weights"  # architecture.tag.safetensors, shipped with the package


def resolve(variant: str, kwargs: Mapping[str, Any]) -> tuple[str, PretrainedCfg]:
    """The `architecture.tag` that the arguments of `timm.create_model` mean, and its configuration."""
    cfg = resolve_pretrained_cfg(variant, kwargs.get("pretrained_cfg"), kwargs.get("pretrained_cfg_overlay"))
    return (f"{variant}.{cfg.tag}" if cfg.tag else variant), cfg


def embedded_weights(name: str) -> Path | None:
    """The weights in the package of a network, named with or without tag; None if there are none.

    Example:
        >>> from qcs.models.pretrained import embedded_weights
        >>> embedded_weights("qcs_ir50.raf_db") is None
        True
    """
    if Path(name).name != name:  # no name, a path
        return None
    path = EMBEDDED / f"{name if '.' in name else resolve(name, {})[0]}.safetensors"
    return path if path.is_file() else None


def build(model_class: Callable[..., nn.Module], variant: str, pretrained: bool, **kwargs: Any) -> Any:
    """Build a network as timm's `build_model_with_cfg` does, with weights from where this library keeps them.

    Args:
        model_class: What makes the network.
        variant: Its registered name, without tag.
        pretrained: Whether to load weights.
        **kwargs: As for timm.

    Returns:
        The network; its `pretrained_cfg` says where the weights come from, as the name of a Hub repository.

    Raises:
        InputError: If there are no weights, or they are not those that the configuration describes.
        OSError: If they cannot be fetched.
    """
    if not pretrained:
        return build_model_with_cfg(model_class, variant, False, **kwargs)
    name, cfg = resolve(variant, kwargs)
    path = find_weights(name, cfg, kwargs.get("cache_dir"))
    _check_readable(path)
    local = dataclasses.replace(cfg, file=str(path), source=None, hf_hub_id=None, hf_hub_filename=None, url=None)
    kwargs |= {"pretrained_cfg": local.to_dict(), "pretrained_cfg_overlay": None}
    check = partial(_fitting, cfg=cfg, path=path, headless=kwargs.get("features_only", False))
    model = build_model_with_cfg(model_class, variant, True, pretrained_filter_fn=check, **kwargs)
    origin = {"hf_hub_id": cfg.hf_hub_id, "source": cfg.source}
    model.pretrained_cfg = {key: value for key, value in model.pretrained_cfg.items() if key != "file"}
    model.pretrained_cfg |= {key: value for key, value in origin.items() if value}
    model.default_cfg = model.pretrained_cfg
    return model


def find_weights(name: str, cfg: PretrainedCfg, cache_dir: str | Path | None = None) -> Path:
    """The weights file of a configuration, on this machine.

    Looks in this order: the file, folder or repository that the caller named; what is embedded in the package; the Hub
    repository that the shipped configuration names.

    Args:
        name: `architecture.tag`.
        cfg: timm's configuration.
        cache_dir: Where downloads are kept; None keeps them in huggingface_hub's cache.

    Raises:
        InputError: If there are none; says where it looked and how to get some.
        OSError: If they cannot be fetched.
    """
    if cfg.source == "local-dir":
        return folder_weights(Path(str(cfg.file)))
    if cfg.file and cfg.source != "hf-hub":  # a repository's configuration names no file of this machine
        return Path(cfg.file)
    shipped = get_pretrained_cfg(name, allow_unregistered=True)
    named_by_caller = cfg.hf_hub_id and cfg.hf_hub_id != (shipped and shipped.hf_hub_id)
    if not named_by_caller and (embedded := embedded_weights(name)):
        return embedded
    if cfg.hf_hub_id:
        return fetch_weights(cfg.hf_hub_id, cfg.hf_hub_filename or WEIGHTS, cache_dir)
    raise InputError(
        f"no pretrained weights for {name}: none are embedded in the package (no {EMBEDDED / name}.safetensors), and "
        "its configuration names no Hub repository (hf_hub_id); make some with 'qcs train', convert a published "
        "checkpoint with 'qcs convert', or load a file with checkpoint_path=..."
    )


def _check_readable(path: Path) -> None:
    """That a file is whole safetensors: its header must account for every byte. Pickles are not read here at all."""
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
            f"{path} is not a whole safetensors file (cut short, or of another format): {error}"
        ) from error


def _fitting(
    state: Mapping[str, Tensor], model: nn.Module, *, cfg: PretrainedCfg, path: Path, headless: bool
) -> dict[str, Tensor]:
    """The state dict in the model's layout, once everything that timm does not replace fits."""
    from qcs.models.checkpoint import fitting_state  # knows the networks, which are built through this module

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
