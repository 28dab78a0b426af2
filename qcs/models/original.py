"""The state-dict layout of the original implementation's checkpoints, in terms of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

# Parameters that the original networks hold but never use in any output or gradient.
DEAD = (
    r"ir_back\.output_layer\.",
    r"VIT_(base|cross)\.(patch_embed|eca_block|CON1|IRLinear1|IRLinear2)\.",
    r"VIT_(base|cross)\.blocks\.\d+\.conv\.",
    r"fusion\.classifier\.",
)

# Applied in order, each to what the ones before made of the key.
RENAMES = (
    (r"^ir_back\.", "backbone.model."),
    (r"\.input_layer\.0\.", ".stem.conv."),
    (r"\.input_layer\.1\.", ".stem.norm."),
    (r"\.input_layer\.2\.", ".stem.act."),
    (r"\.body([123])\.", lambda m: f".stages.{int(m[1]) - 1}."),
    (r"\.shortcut_layer\.0\.", ".shortcut.conv."),
    (r"\.shortcut_layer\.1\.", ".shortcut.norm."),
    (r"\.res_layer\.0\.", ".norm1."),
    (r"\.res_layer\.1\.", ".conv1."),
    (r"\.res_layer\.2\.", ".act."),
    (r"\.res_layer\.3\.", ".conv2."),
    (r"\.res_layer\.4\.", ".norm2."),
    (r"^conv([123])\.", lambda m: f"tokens.reduce.{int(m[1]) - 1}."),
    (r"^embed_q\.", "tokens.embed.0."),
    (r"^embed_k\.", "tokens.embed.1."),
    (r"^embed_v\.proj\.", "tokens.embed.2.0."),
    (r"^VIT_base\.", "base."),
    (r"^VIT_cross\.", "distillation.classifier."),
    (r"\.se_block\.", ".gate."),
    (r"\.head\.linear\.", ".head."),
    (r"^cross_attention_([123])\.(proj\.|theta)", lambda m: f"cross_modules.{int(m[1]) - 1}.attention.{m[2]}"),
    (r"^cross_attention_([123])\.", lambda m: f"cross_modules.{int(m[1]) - 1}."),
)


def is_original(keys: Iterable[str]) -> bool:
    """Whether state-dict keys are those of an original checkpoint."""
    return any(key.startswith(("VIT_base.", "ir_back.")) for key in keys)


def from_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict in our layout, the dead entries left out.

    Args:
        state: State dict of an original checkpoint.

    Returns:
        The live entries under our names; a key the original does not have keeps its name.

    Example:
        >>> import torch
        >>> from qcs.models.original import from_original
        >>> zeros = torch.zeros(3)
        >>> from_original({"VIT_base.se_block.linear1.bias": zeros, "VIT_base.eca_block.conv.weight": zeros})
        {'base.gate.linear1.bias': tensor([0., 0., 0.])}
    """
    dead = re.compile("|".join(DEAD))
    return {rename(key): value for key, value in state.items() if not dead.match(key)}


def rename(key: str) -> str:
    """Our name of an original key."""
    for pattern, replacement in RENAMES:
        key = re.sub(pattern, replacement, key)
    return key
