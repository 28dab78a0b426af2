"""The networks on any timm backbone: `qcs`, `dcs` and `base`, with `backbone` naming it."""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model
from torch import nn

from qcs.errors import InputError
from qcs.models.backbone import backbone_cfg, image_side
from qcs.models.network import CrossSimilarityNetwork
from qcs.models.pretrained import resolve
from qcs.models.zoo import create_network, network_cfg

ANY: dict[str, Any] = dict(backbone="resnet18", embed_dim=256, base_depth=2, num_heads=8)

default_cfgs = generate_default_cfgs(
    {f"{family}.untrained": network_cfg(input_size=(3, 224, 224)) for family in ("base", "dcs", "qcs")}
)


def _create_on(variant: str, pretrained: bool, **kwargs: Any) -> CrossSimilarityNetwork:
    name, cfg = resolve(variant, kwargs)
    if pretrained and not (cfg.has_weights or cfg.source):
        raise InputError(
            f"{name} has no weights of its own, for its backbone may be any: pretrained_backbone=True starts with "
            "timm's weights of the backbone, checkpoint_path=... loads a trained network"
        )
    if isinstance(kwargs.get("pretrained_cfg"), dict):  # of trained weights: it says how their images are prepared
        return create_network(variant, pretrained, **kwargs)
    images = backbone_cfg(kwargs["backbone"], kwargs.get("backbone_args"))
    side = image_side(kwargs["backbone"], kwargs.get("img_size"), kwargs.get("backbone_args"))
    prepared = dict(input_size=(3, side, side), mean=images.mean, std=images.std, interpolation=images.interpolation)
    model = create_network(variant, pretrained, **{**kwargs, "pretrained_cfg": {**cfg.to_dict(), **prepared}})
    convolutions = (f"backbone.{key}" for key, m in model.backbone.named_modules() if isinstance(m, nn.Conv2d))
    model.pretrained_cfg["first_conv"] = next(convolutions, None)
    return model


@register_model
def qcs(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Quadruplet Cross Similarity on any timm backbone."""
    return _create_on("qcs", pretrained, **{**ANY, "branches": 4, **kwargs})


@register_model
def dcs(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Dual Cross Similarity on any timm backbone."""
    return _create_on("dcs", pretrained, **{**ANY, "branches": 2, **kwargs})


@register_model
def base(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """The base network on any timm backbone: the baseline, and what QCS and DCS are at inference."""
    return _create_on("base", pretrained, **{**ANY, "branches": 1, **kwargs})
