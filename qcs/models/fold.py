"""Batch norm folded into the convolution before it: one affine map after another is one affine map.

Only a norm that follows its convolution folds exactly. The norm at the head of an IR unit comes before a convolution
that pads with zeros: folded forward, its shift would be missing on the border. It stays.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node
from torch.nn.utils.fusion import fuse_conv_bn_eval

from qcs.layers.branch_norm import PER_BRANCH

CONV, NORM = torch.ops.aten.conv2d.default, torch.ops.aten.batch_norm.default


def fold_batch_norm(network: nn.Module, images: Tensor) -> int:
    """Fold batch norms into the convolutions before them, in place.

    Args:
        network: A network in evaluation mode; what it computes stays the same up to rounding.
        images: Images (B, C, H, W) that it takes.

    Returns:
        How many were folded.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))
        >>> fold_batch_norm(network.eval(), torch.randn(2, 3, 8, 8))
        1
        >>> [type(layer).__name__ for layer in network]
        ['Conv2d', 'Identity', 'ReLU', 'BatchNorm2d']
    """
    # The graph shows which convolution a norm follows, whatever the modules are called and however they are called.
    pairs = list(_pairs(torch.export.export(network, (images,))))
    folded = 0
    for conv_name, norm_name in pairs:
        conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
        known = type(norm) in (*PER_BRANCH, *PER_BRANCH.values())  # others may do more than normalise
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and known:
            network.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
            network.set_submodule(norm_name, _rest(norm))
            folded += 1
    return folded


def _pairs(program: ExportedProgram) -> Iterator[tuple[str, str]]:
    """Names of convolutions and of the norms that alone take what they give; each module used once."""
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
    """What a norm does besides normalising: timm's applies the activation."""
    return nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
