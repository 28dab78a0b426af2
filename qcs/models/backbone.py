"""Any timm model as the backbone: its feature extractor, and its levels as measured by a dry run."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import timm
import torch
from timm.layers import Format
from timm.models import PretrainedCfg, resolve_pretrained_cfg
from timm.models._manipulate import group_parameters
from torch import Tensor, nn
from torch.func import functional_call

from qcs.errors import InputError
from qcs.layers.level_tokens import common_grid, halvings
from qcs.layers.resize import NearestResize, square_side
from qcs.models.weights import WEIGHT_SOURCES

LAST_THREE = (-3, -2, -1)
# Arguments of `timm.create_model` that the network sets itself, or that would load weights without its checks.
RESERVED = ("model_name", "pretrained", "features_only", "in_chans", "img_size", "checkpoint_path")
# Arguments of feature extractors alone.
EXTRACTION = ("out_indices", "feature_cls", "feature_cfg", "feature_location")

Maps = Sequence[Tensor]


class Level(NamedTuple):
    """One level of feature maps."""

    channels: int
    side: int


class Backbone(NamedTuple):
    """A feature extractor and its properties.

    Attributes:
        extractor: timm's feature extractor; parameters that no map depends on are frozen.
        levels: Its maps, from the first to the last.
        side: Side in pixels of the images for which the levels are measured.
        resizes: Whether it takes images of any size and resizes them itself.
    """

    extractor: nn.Module
    levels: tuple[Level, ...]
    side: int
    resizes: bool


def build_backbone(
    name: str,
    in_chans: int = 3,
    img_size: int | Sequence[int] | None = None,
    pretrained: bool = False,
    args: Mapping[str, Any] | None = None,
) -> Backbone:
    """Build the feature extractor of a timm model, of its last three levels unless `args` holds other `out_indices`.

    Args:
        name: Name of a timm model, with or without the tag of its weights.
        in_chans: Channels of the images.
        img_size: Side of the images in pixels, or a pair of equal sides; None for the model's own.
        pretrained: Load timm's weights.
        args: Further arguments for `timm.create_model`.

    Raises:
        InputError: If there is no such model, it has fewer than three levels of square maps, or its weights cannot be
            loaded.

    Example:
        >>> from qcs.models.backbone import build_backbone
        >>> build_backbone("resnet18", img_size=96).levels
        (Level(channels=128, side=12), Level(channels=256, side=6), Level(channels=512, side=3))
    """
    given = checked_args(args)
    side = image_side(name, img_size, given)
    fixed = None if img_size is None else side
    extractor = _pretrained(name, in_chans, fixed, given) if pretrained else _create(name, in_chans, fixed, given)
    try:
        levels, unused = measure(extractor, in_chans, side)
    except Exception as error:  # layers raise errors of many kinds for images that are too small
        raise InputError(
            f"{name} gives no feature maps for images of {side} pixels ({_brief(error)}); nearby image sizes "
            f"that work: {_listed(sizes_near(name, side, None, given))}"
        ) from error
    if len(levels) < len(LAST_THREE):
        raise InputError(f"a backbone must give at least 3 levels of feature maps, {name} gives {len(levels)}")
    for parameter in unused:
        parameter.requires_grad_(False)
    resizes = any(isinstance(module, NearestResize) for module in extractor.modules())
    return Backbone(extractor, levels, side, resizes)


def feature_maps(extractor: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the maps (B, C, H, W) of every level, also of extractors that order them (B, H, W, C)."""
    maps: list[Tensor] = extractor(images)
    if getattr(extractor, "output_fmt", Format.NCHW) == Format.NHWC:
        return [x.permute(0, 3, 1, 2) for x in maps]
    return maps


def feature_levels(extractor: Any, prefix: str) -> list[dict[str, Any]]:
    """Return timm's `feature_info` of an extractor's levels, as a model that contains the extractor has it.

    Args:
        extractor: timm's feature extractor.
        prefix: Name of the extractor in the model.

    Returns:
        For each level `num_chs`, `reduction` (input pixels per pixel of the map) and `module`, the name of the module
        that computes it in the model, or an empty name if the extractor has no such module.
    """
    modules = dict(extractor.named_modules())
    levels = []
    for level in extractor.feature_info.get_dicts():
        name = level["module"]
        names = (f"model.{name}", name, name.replace(".", "_"))  # as timm's extractors wrap or flatten their model
        module = next((f"{prefix}.{found}" for found in names if found in modules), "")
        levels.append({"num_chs": level["num_chs"], "reduction": level["reduction"], "module": module})
    return levels


def measure(extractor: nn.Module, in_chans: int, side: int) -> tuple[tuple[Level, ...], list[nn.Parameter]]:
    """Return the levels for square images and the parameters that no level depends on, without computing values."""
    training = extractor.training
    named = dict(extractor.named_parameters())
    # Anomaly mode reads the values of gradients, which the meta device does not have.
    with torch.inference_mode(False), torch.enable_grad(), torch.autograd.set_detect_anomaly(False):
        stand_ins = {k: torch.empty_like(p, device="meta", requires_grad=True) for k, p in named.items()}
        buffers = {key: torch.empty_like(buffer, device="meta") for key, buffer in extractor.named_buffers()}
        images = torch.empty(1, in_chans, side, side, device="meta")
        try:
            maps = functional_call(_Maps(extractor.eval()), _below({**stand_ins, **buffers}), (images,))
        finally:
            extractor.train(training)
        shapes = [tuple(x.shape) for x in maps]
        if any(len(shape) != 4 or shape[2] != shape[3] or shape[2] == 0 for shape in shapes):
            raise ValueError(f"maps of shape {', '.join(map(str, shapes))}, expected square ones (1, C, side, side)")
        gradients = torch.autograd.grad(sum(x.sum() for x in maps), list(stand_ins.values()), allow_unused=True)
    unused = [p for p, gradient in zip(named.values(), gradients, strict=True) if gradient is None]
    return tuple(Level(channels, side) for _, channels, side, _ in shapes), unused


class _Maps(nn.Module):
    """Wraps `feature_maps` in a module, for `functional_call`."""

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> list[Tensor]:
        return feature_maps(self.extractor, images)


def _below(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"extractor.{key}": value for key, value in state.items()}


def choose_grid(name: str, backbone: Backbone, grid_size: int | None, args: Mapping[str, Any] | None) -> int:
    """Return the grid that every level can be halved to: `grid_size`, or the smallest level halved to 8 at most.

    Raises:
        InputError: If a level cannot be halved to it; the message names nearby image sizes that work.
    """
    sides = [level.side for level in backbone.levels]
    grid = common_grid(sides) if grid_size is None else grid_size
    if all(halvings(side, grid) is not None for side in sides):
        return grid
    near = _listed(sizes_near(name, backbone.side, grid_size, args))
    raise InputError(
        f"images of {backbone.side} pixels give feature maps of sides {_listed(sides)} in {name}, which cannot all be "
        f"halved to a grid of side {grid}; nearby image sizes that work: {near}"
    )


def sizes_near(name: str, side: int, grid_size: int | None, args: Mapping[str, Any] | None) -> list[int]:
    """Return the next smaller and next larger image size, in pixels, whose maps have a common grid, if they exist."""
    given = checked_args(args)
    with torch.device("meta"):
        reduction = max(_create(name, 3, None, given).feature_info.reduction())
    step = reduction * (grid_size or 1)
    below, above = (side - 1) // step, side // step + 1
    nearest = []
    for candidates in (range(below, max(below - 4, 0), -1), range(above, above + 4)):
        sizes = (n * step for n in candidates)
        nearest += [next((size for size in sizes if _works(name, size, grid_size, given)), 0)]
    return [size for size in nearest if size]


def _works(name: str, side: int, grid_size: int | None, args: dict[str, Any]) -> bool:
    try:
        with torch.device("meta"):
            levels, _ = measure(_create(name, 3, side, args), 3, side)
    except Exception:  # only whether it works matters here
        return False
    sides = [level.side for level in levels]
    return all(halvings(x, common_grid(sides) if grid_size is None else grid_size) is not None for x in sides)


def image_side(name: str, img_size: int | Sequence[int] | None, args: Mapping[str, Any] | None = None) -> int:
    """Return the side in pixels of a backbone's images: `img_size`, or the model's own.

    Raises:
        InputError: If the images are not square, or `img_size` is no number of pixels.
    """
    if img_size is not None:
        return square_side(img_size)
    _, height, width = backbone_cfg(name, args).input_size
    if height != width:
        raise InputError(
            f"{name} takes images of {height} x {width} pixels by default; choose a square with img_size=..."
        )
    return int(height)


def backbone_cfg(name: str, args: Mapping[str, Any] | None = None) -> PretrainedCfg:
    """Return timm's metadata of a backbone: preprocessing and source of its weights.

    Raises:
        InputError: If timm has no such model or weights; the message suggests the nearest names.
    """
    args = args or {}
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else "timm.list_models() lists all"
        raise InputError(f"unknown backbone {name!r}; {hint}")
    overlay = args.get("pretrained_cfg_overlay")
    try:
        return resolve_pretrained_cfg(architecture, args.get("pretrained_cfg") or tag or None, overlay)
    except Exception as error:  # timm does not know the tag or an entry of the metadata
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
        raise InputError(
            f"timm does not know these weights or metadata of {name} ({_brief(error)}); tags of its weights: "
            f"{', '.join(sorted(tags)) or 'none'}"
        ) from error


def checked_args(args: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return arguments for `timm.create_model`, with JSON's lists turned back into tuples.

    Raises:
        InputError: If one is set by the network.
    """
    if taken := [name for name in RESERVED if name in (args or {})]:
        raise InputError(
            f"backbone_args may not hold {', '.join(taken)}: use the network's own arguments, and for weights in a "
            "file pretrained_backbone=True with backbone_args=dict(pretrained_cfg_overlay=dict(file=PATH))"
        )
    return {key: tuple(value) if isinstance(value, list) else value for key, value in (args or {}).items()}


def without_sources(args: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the arguments that are saved with the network: all but the location of weights.

    Raises:
        InputError: If one cannot be saved.
    """
    if args is None:
        return None
    kept = {
        key: {k: v for k, v in value.items() if k not in WEIGHT_SOURCES} if isinstance(value, Mapping) else value
        for key, value in args.items()
        if key not in WEIGHT_SOURCES
    }
    try:
        json.dumps(kept)
    except TypeError as error:
        raise InputError(
            f"backbone_args are saved with the network and must be plain values (numbers, strings, lists): {error}"
        ) from error
    return kept


def layer_order(name: str, args: Mapping[str, Any] | None, coarse: bool) -> dict[str, int]:
    """Return the layer to which timm assigns each parameter, by the names that its feature extractors use."""
    from timm.optim import auto_group_layers

    rest = {key: value for key, value in checked_args(args).items() if key not in EXTRACTION}
    with torch.device("meta"):
        model = timm.create_model(name, **rest)
    if hasattr(model, "group_matcher"):
        order: dict[str, int] = group_parameters(model, model.group_matcher(coarse=coarse), reverse=True)
    else:
        order = auto_group_layers(model)
    flattened = {key.replace(".", "_", 1): layer for key, layer in order.items()}  # as in timm's `FeatureListNet`
    return {**flattened, **order}


def _create(name: str, in_chans: int, img_size: int | None, args: dict[str, Any], pretrained: bool = False) -> Any:
    given = {"out_indices": LAST_THREE, **args, "in_chans": in_chans}
    if img_size is not None and backbone_cfg(name, args).fixed_input_size:
        given["img_size"] = img_size
    try:
        return timm.create_model(name, pretrained=pretrained, features_only=True, **given)
    except InputError:
        raise
    except Exception as error:  # timm's builders and layers raise errors of many kinds
        if pretrained:
            raise
        options = ", ".join(f"{key}={value!r}" for key, value in given.items())
        raise InputError(
            f"{name} cannot be a backbone with {options} ({_brief(error)}); choose a timm model that supports "
            "features_only with three levels or more and takes these arguments"
        ) from error


def _pretrained(name: str, in_chans: int, img_size: int | None, args: dict[str, Any]) -> Any:
    """Return the extractor with timm's weights, and check that they fill it.

    timm loads the weights of feature extractors leniently: a file of another model would leave them random.
    """
    state = torch.get_rng_state()
    fresh = _create(name, in_chans, img_size, args)
    torch.set_rng_state(state)
    try:
        loaded = _create(name, in_chans, img_size, args, pretrained=True)
    except InputError:
        raise
    except Exception as error:  # errors of the connection, the Hub client or the file
        raise InputError(
            f"cannot load timm's weights of {name} ({_brief(error)}); check the connection, name a downloaded file "
            "with backbone_args=dict(pretrained_cfg_overlay=dict(file=PATH)), or leave out pretrained_backbone"
        ) from error
    pairs = zip(fresh.named_parameters(), loaded.parameters(), strict=True)
    left = [key for (key, before), after in pairs if _is_random(before) and torch.equal(before, after)]
    if left:
        raise InputError(
            f"timm's weights of {name} leave {len(left)} parameters unchanged, such as {left[0]}: they belong to "
            f"another model; name weights of {name}"
        )
    return loaded


def _is_random(parameter: Tensor) -> bool:
    return not parameter.is_meta and parameter.ndim > 1 and bool(parameter.std() > 0)


def _brief(error: Exception) -> str:
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none found"
