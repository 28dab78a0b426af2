"""The original's checkpoints from their own side: what networks filled with them answer, and how they name entries.

Written from the description of the networks, without a line of the library: that both agree shows that every entry
arrives in its place. Answers are those to single images in evaluation mode; both ways to number the backbone's units
are understood.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

STRIDES = {0: 2, 3: 2, 7: 2}  # of the units at which a stage begins; 21 units in all
ENDS = (2, 6, 20)
HEADS = 8

State = Mapping[str, Tensor]


def unit_name(state: State, prefix: str, number: int) -> str:
    """Where a unit of the backbone lies, in whichever way the checkpoint numbers them."""
    if any(key.startswith(f"{prefix}body.") for key in state):
        return f"{prefix}body.{number}"
    stage = sum(number > end for end in ENDS)
    return f"{prefix}body{stage + 1}.{number - (0, *ENDS)[stage] - (stage > 0)}"


def batch_norm(state: State, name: str, x: Tensor) -> Tensor:
    mean, var, weight, bias = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, weight, bias, eps=1e-5)


def convolve(state: State, name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), stride, padding)


def linear(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)


def backbone(state: State, x: Tensor, prefix: str = "ir_back.") -> list[Tensor]:
    """Images (B, 3, H, W) to the feature maps of the three stages."""
    x = convolve(state, f"{prefix}input_layer.0", F.interpolate(x, 112, mode="nearest"))
    x = F.prelu(batch_norm(state, f"{prefix}input_layer.1", x), state[f"{prefix}input_layer.2.weight"])
    maps = []
    for number in range(21):
        name, stride = unit_name(state, prefix, number), STRIDES.get(number, 1)
        short = x[..., ::stride, ::stride]
        if f"{name}.shortcut_layer.0.weight" in state:
            short = convolve(state, f"{name}.shortcut_layer.0", short, padding=0)
            short = batch_norm(state, f"{name}.shortcut_layer.1", short)
        x = convolve(state, f"{name}.res_layer.1", batch_norm(state, f"{name}.res_layer.0", x))
        x = convolve(state, f"{name}.res_layer.3", F.prelu(x, state[f"{name}.res_layer.2.weight"]), stride)
        x = batch_norm(state, f"{name}.res_layer.4", x) + short
        if number in ENDS:
            maps.append(x)
    return maps


def tokens(state: State, maps: list[Tensor]) -> Tensor:
    """Feature maps to tokens (B, 147, 768)."""
    levels = [convolve(state, f"conv{level}", x, stride=2) for level, x in enumerate(maps, start=1)]
    for part in ("embed_q.0", "embed_q.1"):
        levels[0] = convolve(state, part, levels[0], stride=2)
    levels[1] = convolve(state, "embed_k.0", levels[1], stride=2)
    levels[2] = convolve(state, "embed_v.proj", levels[2], padding=0)
    return torch.cat([level.flatten(2).mT for level in levels], dim=1)


def attention(state: State, name: str, x: Tensor) -> Tensor:
    batch, length, dim = x.shape
    qkv = linear(state, f"{name}.qkv", x).view(batch, length, 3, HEADS, dim // HEADS)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    weights = (q @ k.mT / (dim // HEADS) ** 0.5).softmax(-1)
    return linear(state, f"{name}.proj", (weights @ v).transpose(1, 2).reshape(x.shape))


def logits(state: State, images: Tensor) -> Tensor:
    """Images (B, 3, 224, 224) to logits (B, classes)."""
    x = tokens(state, backbone(state, images))
    x = torch.cat([state["VIT_base.cls_token"].expand(len(x), 1, -1), x], dim=1) + state["VIT_base.pos_embed"]
    for block in ("VIT_base.blocks.0", "VIT_base.blocks.1"):
        x = x + attention(state, f"{block}.attn", layer_norm(state, f"{block}.norm1", x))
        hidden = F.gelu(linear(state, f"{block}.mlp.fc1", layer_norm(state, f"{block}.norm2", x)))
        x = x + linear(state, f"{block}.mlp.fc2", hidden)
    x = layer_norm(state, "VIT_base.norm", x)[:, 0]
    gate = linear(state, "VIT_base.se_block.linear2", linear(state, "VIT_base.se_block.linear1", x).relu())
    return linear(state, "VIT_base.head.linear", x * gate.sigmoid())


def original_name(ours: str) -> str:
    """The name in an original checkpoint of an entry that has this name in the library."""
    part, _, rest = ours.partition(".")
    if part == "backbone":
        return "ir_back." + _backbone_name(rest.removeprefix("model."))
    if part == "tokens":
        kind, level, rest = rest.split(".", 2)
        embed = ["embed_q", "embed_k", "embed_v"][int(level)]
        return f"conv{int(level) + 1}.{rest}" if kind == "reduce" else f"{embed}.{rest}".replace("v.0.", "v.proj.")
    if part == "cross_modules":
        level, rest = rest.split(".", 1)
        return f"cross_attention_{int(level) + 1}.{rest.removeprefix('attention.')}"
    if part == "base":
        return "VIT_base." + _transformer_name(rest)
    return "VIT_cross." + _transformer_name(rest.removeprefix("classifier."))


def _transformer_name(name: str) -> str:
    return re.sub("^head", "head.linear", re.sub("^gate", "se_block", name))


def _backbone_name(name: str) -> str:
    if name.startswith("stem"):
        _, layer, rest = name.split(".", 2)
        return f"input_layer.{['conv', 'norm', 'act'].index(layer)}.{rest}"
    _, stage, number, layer, rest = name.split(".", 4)
    unit = f"body{int(stage) + 1}.{number}"
    if layer == "shortcut":
        layer, rest = rest.split(".", 1)
        return f"{unit}.shortcut_layer.{['conv', 'norm'].index(layer)}.{rest}"
    return f"{unit}.res_layer.{['norm1', 'conv1', 'act', 'conv2', 'norm2'].index(layer)}.{rest}"


def flat_name(split: str) -> str:
    """The name of a backbone's entry where the units are numbered in one sequence."""
    starts = {1: 0, 2: 3, 3: 7}
    return re.sub(r"body([123])\.(\d+)", lambda m: f"body.{starts[int(m[1])] + int(m[2])}", split)
