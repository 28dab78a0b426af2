"""The registered networks: arguments and metadata of each name.

A name is `architecture.tag`: the architecture is code, the tag names a set of weights with its classes, label names,
residual variant, dropout and preprocessing. timm's configuration holds what timm has a field for; `OWN_ARGS` holds
residual variant and dropout, `REPORTED_ACCURACY` the accuracy. `qcs_any`, `dcs_any` and `base_any` take any backbone.
"""

from __future__ import annotations

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import generate_default_cfgs, register_model
from torch import nn

from qcs.data.labels import CLASSES
from qcs.errors import InputError
from qcs.models._builder import build, fitted_cfg, resolve
from qcs.models.backbone import backbone_cfg, image_side
from qcs.models.dlib_resnet import MEAN as DLIB_MEAN
from qcs.models.network import CrossSimilarityNetwork
from qcs.models.weights import EMBEDDED, ORIGINAL, list_embedded

IR50: dict[str, Any] = dict(backbone="ir50", img_size=112, grid_size=7, embed_dim=768, base_depth=2)
SMALL: dict[str, Any] = dict(
    backbone="ir_small", img_size=48, grid_size=6, embed_dim=128, base_depth=1, num_heads=4, mlp_ratio=2.0
)
NANO: dict[str, Any] = dict(
    backbone="ir_nano", img_size=48, grid_size=6, embed_dim=64, base_depth=1, num_heads=2, mlp_ratio=2.0
)
DLIB: dict[str, Any] = dict(
    backbone="dlib_resnet29",
    backbone_args=dict(resize=104),
    img_size=48,
    grid_size=3,
    embed_dim=256,
    base_depth=2,
    mlp_ratio=2.0,
)
ANY: dict[str, Any] = dict(backbone="resnet18", embed_dim=256, base_depth=2, num_heads=8)

# Arguments by which a network, published or shipped, differs from the defaults of `CrossSimilarityNetwork`.
OWN_ARGS: dict[str, dict[str, Any]] = {
    "dcs_ir50.raf_db": dict(cross_drop_rate=0.2),
    "dcs_ir50.ferplus": dict(cross_drop_rate=0.2, drop_attention_projection=True, residual="identity"),
    "dcs_ir50.affectnet7": dict(cross_drop_rate=0.4),
    "dcs_ir50.affectnet8": dict(
        base_drop_rate=0.2, cross_drop_rate=0.5, drop_attention_projection=True, residual="identity"
    ),
    "qcs_ir50.ferplus": dict(cross_drop_rate=0.2, drop_attention_projection=True),
    "qcs_ir50.affectnet7": dict(cross_drop_rate=0.4),
    "qcs_ir50.affectnet8": dict(drop_attention_projection=True),
    "qcs_small.ferplus": dict(base_drop_rate=0.1, cross_drop_rate=0.1),
}
# Test accuracy in [0, 1] that the paper reports for its own weights of these names.
REPORTED_ACCURACY: dict[str, float] = {
    "dcs_ir50.raf_db": 0.9257,
    "dcs_ir50.ferplus": 0.9141,
    "dcs_ir50.affectnet7": 0.6766,
    "dcs_ir50.affectnet8": 0.6440,
    "qcs_ir50.raf_db": 0.9250,
    "qcs_ir50.ferplus": 0.9141,
    "qcs_ir50.affectnet7": 0.6794,
    "qcs_ir50.affectnet8": 0.6430,
}
RESIZE_BEFORE_CROP = {
    "base_ir50.affectnet7": 236,
    "dcs_ir50.affectnet7": 236,
    "qcs_ir50.affectnet7": 236,
    "qcs_ir50.affectnet8": 236,
}


def _cfg(**kwargs: Any) -> dict[str, Any]:
    """Return the metadata that all networks share, updated by `kwargs`."""
    return {
        "num_classes": 7,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "backbone.model.stem.conv",
        # Heads of the base classifier, of a cross classifier with a transformer, of one that is a linear layer.
        "classifier": ("base.head", "distillation.classifier.head", "distillation.classifier"),
        "paper_ids": "arXiv:2411.01988",
        "paper_name": "QCS: Feature Refining from Quadruplet Cross Similarity for Facial Expression Recognition",
        "origin_url": ORIGINAL,
        **kwargs,
    }


def _published_cfg(name: str) -> dict[str, Any]:
    classes = CLASSES[name.split(".")[1]]
    crop_pct = 224 / RESIZE_BEFORE_CROP.get(name, 224)
    return _cfg(input_size=(3, 224, 224), num_classes=len(classes), label_names=classes, crop_pct=crop_pct)


TAGS = ("raf_db", "ferplus", "affectnet7", "affectnet8")
_IR50_NAMES = [f"{family}_ir50.{tag}" for family in ("base", "dcs", "qcs") for tag in TAGS]
_SMALL_NAMES = [f"{family}_{size}.untrained" for size in ("small", "nano") for family in ("base", "dcs", "qcs")]
_DLIB_NAMES = [f"{family}_dlib.untrained" for family in ("base", "dcs", "qcs")]
_ANY_NAMES = [f"{family}_any.untrained" for family in ("base", "dcs", "qcs")]

_CFGS = {
    "qcs_small.ferplus": _cfg(input_size=(1, 48, 48), num_classes=8, label_names=CLASSES["ferplus"], crop_pct=48 / 54),
    **{name: _published_cfg(name) for name in _IR50_NAMES},
    **{name: _cfg(input_size=(3, 48, 48)) for name in _SMALL_NAMES},
    **{name: _cfg(input_size=(3, 48, 48), mean=DLIB_MEAN, std=(1.0, 1.0, 1.0)) for name in _DLIB_NAMES},
    **{name: _cfg(input_size=(3, 224, 224)) for name in _ANY_NAMES},
}
for _name in list_embedded():
    _CFGS[_name]["file"] = str(EMBEDDED / f"{_name}.safetensors")  # timm lists as pretrained what names its weights
default_cfgs = generate_default_cfgs(_CFGS)


def _create(variant: str, pretrained: bool, **kwargs: Any) -> CrossSimilarityNetwork:
    """Build the network of a registered name, with metadata that fits it."""
    if kwargs.pop("features_only", False):
        raise InputError(
            f"{variant} does not support features_only; call model.forward_intermediates(images), or use its backbone: "
            f"timm.create_model({kwargs['backbone']!r}, features_only=True)"
        )
    name, _ = resolve(variant, kwargs)
    own = {key: value for key, value in OWN_ARGS.get(name, {}).items() if key not in _replaced_by(kwargs)}
    model = build(CrossSimilarityNetwork, variant, pretrained, **{**own, **kwargs})
    model.pretrained_cfg = model.default_cfg = fitted_cfg(model.pretrained_cfg, model, model.model_args["in_chans"])
    return model


def _replaced_by(kwargs: dict[str, Any]) -> tuple[str, ...]:
    """Return the arguments of a name that the caller's replace: `drop_rate` stands for both rates."""
    return ("base_drop_rate", "cross_drop_rate") if "drop_rate" in kwargs else ()


def _create_on(variant: str, pretrained: bool, **kwargs: Any) -> CrossSimilarityNetwork:
    name, cfg = resolve(variant, kwargs)
    if pretrained and not (cfg.has_weights or cfg.source):
        raise InputError(
            f"{name} has no weights of its own, since any backbone is possible: pretrained_backbone=True loads timm's "
            "weights of the backbone, checkpoint_path=... loads a trained network"
        )
    if isinstance(kwargs.get("pretrained_cfg"), dict):  # of trained weights, with the preprocessing of their images
        return _create(variant, pretrained, **kwargs)
    images = backbone_cfg(kwargs["backbone"], kwargs.get("backbone_args"))
    side = image_side(kwargs["backbone"], kwargs.get("img_size"), kwargs.get("backbone_args"))
    prepared = dict(input_size=(3, side, side), mean=images.mean, std=images.std, interpolation=images.interpolation)
    model = _create(variant, pretrained, **{**kwargs, "pretrained_cfg": {**cfg.to_dict(), **prepared}})
    convolutions = (f"backbone.{key}" for key, m in model.backbone.named_modules() if isinstance(m, nn.Conv2d))
    model.pretrained_cfg["first_conv"] = next(convolutions, None)
    return model


@register_model
def qcs_ir50(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Build Quadruplet Cross Similarity on IR50, the published network."""
    return _create("qcs_ir50", pretrained, **{**IR50, "branches": 4, **kwargs})


@register_model
def dcs_ir50(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Build Dual Cross Similarity on IR50, the published two-branch network."""
    return _create("dcs_ir50", pretrained, **{**IR50, "branches": 2, **kwargs})


@register_model
def base_ir50(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Build the base network on IR50 alone: the baseline, and QCS and DCS at inference."""
    return _create("base_ir50", pretrained, **{**IR50, "branches": 1, **kwargs})


@register_model
def qcs_small(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Build Quadruplet Cross Similarity for 48-pixel faces, with three million parameters at inference."""
    return _create("qcs_small", pretrained, **{**SMALL, "branches": 4, **kwargs})


@register_model
def dcs_small(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Build Dual Cross Similarity for 48-pixel faces, with three million parameters at inference."""
    return _create("dcs_small", pretrained, **{**SMALL, "branches": 2, **kwargs})


@register_model
def base_small(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Build the base network of `qcs_small` and `dcs_small` alone: their baseline."""
    return _create("base_small", pretrained, **{**SMALL, "branches": 1, **kwargs})


@register_model
def qcs_nano(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Build Quadruplet Cross Similarity for 48-pixel faces, small enough to train on two CPU cores."""
    return _create("qcs_nano", pretrained, **{**NANO, "branches": 4, **kwargs})


@register_model
def dcs_nano(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Build Dual Cross Similarity for 48-pixel faces, small enough to train on two CPU cores."""
    return _create("dcs_nano", pretrained, **{**NANO, "branches": 2, **kwargs})


@register_model
def base_nano(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Build the base network for 48-pixel faces alone: the baseline of `qcs_nano` and `dcs_nano`."""
    return _create("base_nano", pretrained, **{**NANO, "branches": 1, **kwargs})


@register_model
def qcs_dlib(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Build Quadruplet Cross Similarity for 48-pixel faces on dlib's face recognition network."""
    return _create("qcs_dlib", pretrained, **{**DLIB, "branches": 4, **kwargs})


@register_model
def dcs_dlib(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Build Dual Cross Similarity for 48-pixel faces on dlib's face recognition network."""
    return _create("dcs_dlib", pretrained, **{**DLIB, "branches": 2, **kwargs})


@register_model
def base_dlib(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Build the base network for 48-pixel faces on dlib's face recognition network."""
    return _create("base_dlib", pretrained, **{**DLIB, "branches": 1, **kwargs})


@register_model
def qcs_any(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Build Quadruplet Cross Similarity on any timm backbone, named by `backbone`."""
    return _create_on("qcs_any", pretrained, **{**ANY, "branches": 4, **kwargs})


@register_model
def dcs_any(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Build Dual Cross Similarity on any timm backbone, named by `backbone`."""
    return _create_on("dcs_any", pretrained, **{**ANY, "branches": 2, **kwargs})


@register_model
def base_any(pretrained: bool = False, **kwargs: Any) -> CrossSimilarityNetwork:
    """Build the base network on any timm backbone: the baseline, and QCS and DCS at inference."""
    return _create_on("base_any", pretrained, **{**ANY, "branches": 1, **kwargs})
