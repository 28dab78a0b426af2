"""Any timm classifier as it is, with its own head: a baseline that trains and saves as the other networks do."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import timm
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

from qcs.errors import InputError, brief
from qcs.models._builder import build, fitted_cfg, resolve
from qcs.models.backbone import backbone_cfg, checked_args, image_side, without_sources
from qcs.models.named_classes import NamedClasses
from qcs.typed_call import same_signature

NAME = "timm_any"


class TimmClassifier(NamedClasses, nn.Module):
    """Classifies images by a network of timm, unchanged.

    Args:
        backbone: Name of any timm classifier, with or without the tag of its weights.
        num_classes: Number of classes; 0 returns the features before the head.
        in_chans: Channels of the images.
        img_size: Side of the images in pixels, or a pair of equal sides; None for the network's own.
        drop_rate: Dropout before the head, a probability.
        backbone_args: Further arguments for `timm.create_model`.
        pretrained_backbone: Load timm's weights, all but the head.

    Attributes:
        branches: Images that one call compares: none, each image is classified by itself.

    Raises:
        InputError: If timm has no such network, cannot build it with these arguments, or cannot load its weights.

    Example:
        >>> import qcs, torch
        >>> model = qcs.create_model("timm_any", backbone="resnet18", img_size=64).eval()
        >>> model(torch.randn(1, 3, 64, 64)).shape
        torch.Size([1, 7])
    """

    branches = 1

    def __init__(
        self,
        backbone: str = "resnet18",
        num_classes: int = 7,
        in_chans: int = 3,
        img_size: int | Sequence[int] | None = None,
        drop_rate: float = 0.0,
        backbone_args: Mapping[str, Any] | None = None,
        pretrained_backbone: bool = False,
    ) -> None:
        super().__init__()
        given = checked_args(backbone_args)
        cfg, side = backbone_cfg(backbone, given), image_side(backbone, img_size, given)
        if cfg.fixed_input_size:
            given["img_size"] = side
        if drop_rate:
            given["drop_rate"] = drop_rate
        try:
            self.model: Any = timm.create_model(
                backbone, pretrained=pretrained_backbone, num_classes=num_classes, in_chans=in_chans, **given
            )
        except InputError:
            raise
        except Exception as error:  # timm's builders and layers, and loading, raise errors of many kinds
            reason = brief(f"{type(error).__name__}: {error}")
            what = "load timm's weights of" if pretrained_backbone else "build"
            raise InputError(f"cannot {what} {backbone}: {reason}") from error
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = int(self.model.num_features)
        info = getattr(self.model, "feature_info", [])
        self.feature_info = [{**level, "module": f"model.{level['module']}"} for level in info]
        self.pretrained_cfg: dict[str, Any] = {}  # timm's metadata: preprocessing, label names, origin
        self.model_args = dict(
            backbone=backbone,
            num_classes=num_classes,
            in_chans=in_chans,
            img_size=side,
            drop_rate=drop_rate,
            backbone_args=without_sources(backbone_args),
        )

    @property
    def resolved_args(self) -> dict[str, Any]:
        """Arguments that rebuild this network: all of them."""
        return self.model_args

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes) of images (B, C, H, W)."""
        out: Tensor = self.model(x)
        return out

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...

    def forward_features(self, x: Tensor) -> Tensor:
        """Return what the network computes before its head, for images (B, C, H, W)."""
        out: Tensor = self.model.forward_features(x)
        return out

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, classes) of the output of `forward_features`, or pooled features (B, C)."""
        out: Tensor = self.model.forward_head(x, pre_logits=pre_logits)
        return out

    def forward_intermediates(self, x: Tensor, *args: Any, **kwargs: Any) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the feature maps of chosen stages, as the network of timm does."""
        maps: list[Tensor] | tuple[Tensor, list[Tensor]] = self.model.forward_intermediates(x, *args, **kwargs)
        return maps

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass instead of storing them."""
        self.model.set_grad_checkpointing(enable)

    def get_classifier(self) -> nn.Module:
        """Return the linear head."""
        classifier: nn.Module = self.model.get_classifier()
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head by a freshly initialized one; 0 classes remove it."""
        self.num_classes = self.model_args["num_classes"] = num_classes
        self.name_classes(None)
        reference = next(self.parameters())
        self.model.reset_classifier(num_classes)
        self.model.to(reference.device, reference.dtype)

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters to exclude from weight decay."""
        names: set[str] = getattr(self.model, "no_weight_decay", set)()
        return {f"model.{name}" for name in names}

    def inference_model(self) -> TimmClassifier:
        """Return a copy: the whole network classifies."""
        return copy.deepcopy(self)


default_cfgs = generate_default_cfgs(
    {f"{NAME}.untrained": dict(num_classes=7, input_size=(3, 224, 224), crop_pct=1.0, crop_mode="squash")}
)


@register_model
def timm_any(pretrained: bool = False, **kwargs: Any) -> TimmClassifier:
    """Build any timm classifier, named by `backbone`, as a baseline."""
    if kwargs.get("features_only"):
        raise InputError(f"{NAME} does not support features_only; use its backbone in timm.create_model")
    _, cfg = resolve(NAME, kwargs)
    if pretrained and not (cfg.has_weights or cfg.source):
        raise InputError(
            f"{NAME} has no weights of its own, since any network is possible: pretrained_backbone=True loads timm's "
            "weights, checkpoint_path=... loads a trained network"
        )
    name, args = kwargs.get("backbone", "resnet18"), kwargs.get("backbone_args")
    images = backbone_cfg(name, args)
    if not isinstance(kwargs.get("pretrained_cfg"), dict):  # not of trained weights, which state their own
        side = image_side(name, kwargs.get("img_size"), args)
        heads = [images.classifier] if isinstance(images.classifier, str) else list(images.classifier or ())
        prepared = dict(
            input_size=(3, side, side),
            mean=images.mean,
            std=images.std,
            interpolation=images.interpolation,
            first_conv=f"model.{images.first_conv}",
            classifier=[f"model.{head}" for head in heads],
            license=images.license,
        )
        kwargs["pretrained_cfg"] = {**cfg.to_dict(), **prepared}
    model: Any = build(TimmClassifier, NAME, pretrained, **kwargs)
    model.pretrained_cfg = fitted_cfg(model.pretrained_cfg, model, model.model_args["in_chans"])
    model.default_cfg = model.pretrained_cfg
    return model
