"""The state-dict layout of the original implementation's checkpoints, translated to ours.

Also that of the face-recognition network IR-50, the source of the original's backbone: by itself or as part of any
checkpoint, its units numbered in one sequence (`body.N`) or by stage (`body1.N` to `body3.N`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from qcs.errors import InputError

IR50_DEPTHS = (3, 4, 14)
BILINEAR = "bilinear-pooling head that only DCS for AffectNet-8 holds, unused"

# Entries that no output and no gradient of the original networks depends on, by what they are.
DEAD = {
    "head of the face-recognition network, unused": r"ir_back\.output_layer\.",
    "fourth stage of the face-recognition network, unused": r"ir_back\.body(\.2[123]|4\.[012])\.",
    "layers of the transformers, unused": (
        r"VIT_(base|cross)\.((patch_embed|eca_block|CON1|IRLinear1|IRLinear2)\.|blocks\.\d+\.conv\.)"
    ),
    BILINEAR: r"fusion\.classifier\.",
}


def _stage(unit: re.Match[str]) -> str:
    """Return stage and unit, in our names, of a unit of the single sequence; other units keep their name."""
    number = int(unit[1])
    for stage, depth in enumerate(IR50_DEPTHS):
        if number < depth:
            return f".stages.{stage}.{number}."
        number -= depth
    return unit[0]


# Applied in order, each to the result of the ones before.
RENAMES = (
    (r"^ir_back\.", "backbone.model."),
    (r"\.input_layer\.0\.", ".stem.conv."),
    (r"\.input_layer\.1\.", ".stem.norm."),
    (r"\.input_layer\.2\.", ".stem.act."),
    (r"\.body\.(\d+)\.", _stage),
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
    """Return whether state-dict keys are those of an original checkpoint, or contain an IR-50 in its layout."""
    keys = list(keys)
    return any(key.startswith(("VIT_base.", "ir_back.")) for key in keys) or _backbone_prefix(keys) is not None


def from_original(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Translate a state dict to our layout, and count the unused entries left out, by what they are.

    Args:
        state: State dict of an original checkpoint, or one that holds an IR-50 in its layout.

    Returns:
        The entries under our names, where keys that the original does not have are unchanged; and the counts.

    Raises:
        InputError: If two entries get the same name.

    Example:
        >>> import torch
        >>> from qcs.models.original import from_original
        >>> zeros = torch.zeros(3)
        >>> from_original({"VIT_base.se_block.linear1.bias": zeros, "VIT_base.eca_block.conv.weight": zeros})
        ({'base.gate.linear1.bias': tensor([0., 0., 0.])}, {'layers of the transformers, unused': 1})
    """
    prefix = _backbone_prefix(state)
    live: dict[str, Tensor] = {}
    dropped: dict[str, int] = {}
    for key, value in state.items():
        if prefix is not None and key.startswith(prefix):
            key = "ir_back." + key.removeprefix(prefix)
        if reason := next((what for what, pattern in DEAD.items() if re.match(pattern, key)), None):
            dropped[reason] = dropped.get(reason, 0) + 1
        elif (name := rename(key)) in live:
            raise InputError(
                f"two entries of the checkpoint translate to {name}: its backbone is stored under two names"
            )
        else:
            live[name] = value
    return live, dropped


def rename(key: str) -> str:
    """Return our name of an original key."""
    for pattern, replacement in RENAMES:
        key = re.sub(pattern, replacement, key)
    return key


def _backbone_prefix(keys: Iterable[str]) -> str | None:
    """Return the prefix of the one IR-50 among the keys, empty if it is by itself; None without one."""
    units = (re.match(r"(.*\.)?body[123]?\.\d+\.res_layer\.\d\.", key) for key in keys)
    prefixes = {unit[1] or "" for unit in units if unit}
    return prefixes.pop() if len(prefixes) == 1 else None
