"""The base network as it runs fastest in PyTorch: one branch, batch norms folded, channels last, optionally bfloat16.

Folding merges a batch norm into the convolution before it, since two affine maps in sequence are one. The norm at the
head of an IR unit stays: it precedes a convolution that pads with zeros, and its shift would be missing at the border.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeVar

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node
from torch.nn.utils.fusion import fuse_conv_bn_eval

from qcs.layers.branch_norm import PER_BRANCH
from qcs.models.classifiers import Classifier
from qcs.models.network import CrossSimilarityNetwork

Precision = Literal["fp32", "bf16"]
ClassifierT = TypeVar("ClassifierT", bound=Classifier)
IMAGE_SIDE = 32
CONV, NORM = torch.ops.aten.conv2d.default, torch.ops.aten.batch_norm.default


def fast_inference_model(model: ClassifierT, precision: Precision = "fp32") -> ClassifierT:
    """Return a copy that classifies single images faster; it can neither be trained nor load weights.

    Args:
        model: A network of any number of branches.
        precision: `"fp32"` keeps the logits up to rounding. `"bf16"` computes in bfloat16, takes images of that dtype
            and changes logits by about a hundredth of their size.

    Returns:
        The copy, in evaluation mode.

    Example:
        >>> import qcs, torch
        >>> from qcs.models import fast_inference_model
        >>> model = qcs.create_model("qcs_nano").eval()
        >>> images = torch.randn(2, 3, 48, 48)
        >>> with torch.inference_mode():
        ...     torch.allclose(fast_inference_model(model)(images), model(images), atol=1e-4)
        True
    """
    fast: Any = model.inference_model().eval().requires_grad_(False)
    size = tuple(fast.pretrained_cfg.get("input_size", ()))
    if isinstance(fast, CrossSimilarityNetwork):
        side = fast.img_size or IMAGE_SIDE  # a backbone that resizes its images takes any
        size = (fast.model_args["in_chans"], side, side)
    fold_batch_norm(fast, next(fast.parameters()).new_zeros(2, *size))
    if precision == "bf16":
        fast.to(torch.bfloat16)
    channels_last: ClassifierT = fast.to(memory_format=torch.channels_last)
    return channels_last


def fold_batch_norm(network: nn.Module, images: Tensor) -> int:
    """Fold batch norms into the convolutions before them, in place.

    Args:
        network: A network in evaluation mode; its output stays the same up to rounding.
        images: Example images (B, C, H, W).

    Returns:
        Number of folded norms.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))
        >>> fold_batch_norm(network.eval(), torch.randn(2, 3, 8, 8))
        1
        >>> [type(layer).__name__ for layer in network]
        ['Conv2d', 'Identity', 'ReLU', 'BatchNorm2d']
    """
    # The graph shows which convolution a norm follows, independent of the names and the code of the modules.
    pairs = list(_pairs(torch.export.export(network, (images,))))
    folded = 0
    for conv_name, norm_name in pairs:
        conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
        known = type(norm) in (*PER_BRANCH, *PER_BRANCH.values())  # other classes may do more than normalize
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and known:
            network.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
            network.set_submodule(norm_name, _rest(norm))
            folded += 1
    return folded


def _pairs(program: ExportedProgram) -> Iterator[tuple[str, str]]:
    """Yield names of convolutions and of the norms that alone use their output; each module runs once."""
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}

    def owner(tensor: object) -> str | None:
        if isinstance(tensor, Node) and len(tensor.users) == 1 and tensor.name in names:
            return names[tensor.name].rpartition(".")[0]
        return None

    for norm in program.graph.nodes:
        if norm.target is NORM and norm.args[0].target is CONV and len(norm.args[0].users) == 1:
            conv_name, norm_name = owner(norm.args[0].args[1]), owner(norm.args[3])
            if conv_name and norm_name:
                yield conv_name, norm_name


def _rest(norm: nn.Module) -> nn.Module:
    """Return what a norm does besides normalizing: timm's also applies an activation."""
    return nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
