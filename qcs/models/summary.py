"""Size, cost and weights of the registered networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from timm.models import get_pretrained_cfg
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from qcs.models.classifiers import Classifier
from qcs.models.factory import create_model, list_models
from qcs.models.weights import embedded_weights
from qcs.models.zoo import REPORTED_ACCURACY


@dataclass(frozen=True)
class ModelSummary:
    """Summary of a network.

    Attributes:
        name: `architecture.tag`.
        parameters: Parameters in training.
        inference: Parameters at inference, without the cross part.
        gmacs: Multiply-adds of its convolutions and matrix products for one image at inference, in 10⁹.
        input_size: Channels, height and width of its images, in pixels.
        classes: Class names of the tag; empty if it has none.
        weights: `"embedded"`, the Hub repository, or None.
        accuracy: Test accuracy that the paper reports for its own weights of the name, in [0, 1]; None without one.
    """

    name: str
    parameters: int
    inference: int
    gmacs: float
    input_size: tuple[int, int, int]
    classes: tuple[str, ...]
    weights: str | None
    accuracy: float | None


def describe_models(pattern: str = "*") -> list[ModelSummary]:
    """Return summaries of the networks whose name matches a shell-style pattern; no parameters are allocated."""
    return [describe_model(name) for name in list_models(pattern, tags=True)]


def describe_model(name: str) -> ModelSummary:
    """Return the summary of a network, named with its tag; no parameters are allocated."""
    with torch.device("meta"):
        model = create_model(name).eval()
    base = model.inference_model() if isinstance(model, Classifier) else model
    cfg: Any = model.pretrained_cfg
    return ModelSummary(
        name,
        parameters=sum(p.numel() for p in model.parameters()),
        inference=sum(p.numel() for p in base.parameters()),
        gmacs=gmacs(base, cfg["input_size"]),
        input_size=cfg["input_size"],
        classes=cfg.get("label_names", ()),
        weights=where_weights_are(name),
        accuracy=REPORTED_ACCURACY.get(name),
    )


def gmacs(model: nn.Module, input_size: tuple[int, int, int]) -> float:
    """Return the multiply-adds of the forward pass of one image, of convolutions and matrix products, in 10⁹.

    Args:
        model: The network, in evaluation mode; only its shapes are used, nothing is computed.
        input_size: Channels, height and width of the image.

    Example:
        >>> import timm, torch
        >>> from qcs.models.summary import gmacs
        >>> with torch.device("meta"):
        ...     model = timm.create_model("resnet18").eval()
        >>> round(gmacs(model, (3, 224, 224)), 2)
        1.81
    """
    # On the meta device attention is made of matrix products, which are counted; the fused kernel of the CPU is not.
    image = torch.empty(1, *input_size, device="meta")
    shapes = {name: value.to("meta") for name, value in (*model.named_parameters(), *model.named_buffers())}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional_call(model, shapes, image)
    return counter.get_total_flops() / 2e9  # it counts a multiply-add as two


def where_weights_are(name: str) -> str | None:
    """Return `"embedded"`, the Hub repository of a network's weights, or None."""
    if embedded_weights(name):
        return "embedded"
    cfg = get_pretrained_cfg(name)
    return cfg.hf_hub_id if cfg is not None else None
