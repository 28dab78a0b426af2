"""The state-dict layouts of the peer networks' official implementations, translated to ours.

Only the names of the entries are needed, so no network is imported here. Entries that no output and no gradient depends
on are dropped by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from qcs.errors import InputError

Rename = tuple[str, str | Callable[[re.Match[str]], str]]


@dataclass(frozen=True)
class Layout:
    """Names of the entries of an official implementation.

    Attributes:
        network: The network, for messages.
        marks: Names of entries that only this layout holds, all of them.
        renames: Patterns and replacements, applied in order, each to the result of the ones before.
        dead: Patterns of entries to drop, by what they are.
    """

    network: str
    marks: tuple[str, ...]
    renames: tuple[Rename, ...]
    dead: Mapping[str, str]

    def rename(self, key: str) -> str:
        """Return our name of an official one."""
        for pattern, replacement in self.renames:
            key = re.sub(pattern, replacement, key)
        return key

    def translate(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Return the entries under our names, and the counts of those dropped, by what they are.

        Raises:
            InputError: If two entries get the same name.
        """
        live: dict[str, Tensor] = {}
        dropped: dict[str, int] = {}
        for key, value in state.items():
            if reason := next((what for what, pattern in self.dead.items() if re.match(pattern, key)), None):
                dropped[reason] = dropped.get(reason, 0) + 1
            elif (name := self.rename(key)) in live:
                raise InputError(f"two entries of the checkpoint of {self.network} translate to {name}")
            else:
                live[name] = value
        return live, dropped


def _shifted(pattern: str, template: str, by: int) -> Rename:
    """Return a rename whose first group, a number, is shifted."""
    return pattern, lambda match: template.format(int(match[1]) + by)


_DAN = Layout(
    "DAN",
    ("cat_head0.sa.conv1x1.0.weight", "fc.weight"),
    (
        (r"^features\.0\.", "stem.conv."),
        (r"^features\.1\.", "stem.norm."),
        _shifted(r"^features\.(\d)\.", "stages.{}.", -4),
        (r"^cat_head(\d+)\.", r"head.attention.\1."),
        (r"\.sa\.conv1x1\.", ".spatial.reduce."),
        (r"\.sa\.conv_3x3\.", ".spatial.square."),
        (r"\.sa\.conv_1x3\.", ".spatial.rows."),
        (r"\.sa\.conv_3x1\.", ".spatial.columns."),
        (r"\.ca\.attention\.", ".channel.gate."),
        (r"^fc\.", "head.fc."),
        (r"^bn\.", "head.norm."),
    ),
    {},
)

_DDAMFN = Layout(
    "DDAMFN",
    ("features.2.CA.conv1.weight", "cat_head0.CoordAtt.Linear_h.conv.weight"),
    (
        (r"^features\.0\.", "stem."),
        (r"^features\.1\.", "stages.0.0."),
        (r"^features\.2\.", "stages.0.1."),
        _shifted(r"^features\.3\.model\.(\d+)\.", "stages.0.{}.", 2),
        (r"^features\.4\.", "stages.1.0."),
        _shifted(r"^features\.5\.model\.(\d+)\.", "stages.1.{}.", 1),
        (r"^features\.6\.", "stages.2.0."),
        _shifted(r"^features\.7\.model\.(\d+)\.", "stages.2.{}.", 1),
        (r"^features\.8\.", "stages.2.7."),
        (r"\.conv_dw\.mixed_depthwise_conv\.", ".depthwise.convs."),
        (r"^cat_head(\d+)\.CoordAtt\.", r"head.heads.\1.gates."),
        (r"\.CA\.", ".attention.gates."),
        (r"\.gates\.Linear_h\.", ".along_rows."),
        (r"\.gates\.Linear_w\.", ".along_columns."),
        (r"\.gates\.conv1\.", ".gates.reduce.conv."),
        (r"\.gates\.bn1\.", ".gates.reduce.norm."),
        (r"\.gates\.conv2\.", ".gates.rows."),
        (r"\.gates\.conv3\.", ".gates.columns."),
        (r"^Linear\.", "head.pool."),
        (r"^fc\.", "head.fc."),
        (r"(stages\.\d+\.\d+)\.conv\.(conv|bn|prelu)\.", r"\1.expand.\2."),
        (r"\.bn\.", ".norm."),
        (r"\.prelu\.", ".act."),
    ),
    {
        "norms and activations after the mixed convolutions, never applied": r"features\..*\.conv_dw\.(bn|prelu)\.",
        "convolutions of the attention heads, unused": r"cat_head\d+\.CoordAtt\.Linear\.",
        "norm of the logits, unused": r"bn\.",
    },
)

_ADA_DF = Layout(
    "Ada-DF",
    ("branch_1.4.weight", "alpha_1.0.weight"),
    (
        (r"^feature\.0\.", "stem.conv."),
        (r"^feature\.1\.", "stem.norm."),
        (r"^feature\.4\.", "stages.0."),
        _shifted(r"^branch_2\.([012])\.", "stages.{}.", 1),
        (r"^branch_2\.4\.", "head.fc."),
        (r"^alpha_2\.0\.", "head.gate."),
        _shifted(r"^branch_1\.([012])\.", "auxiliary.stages.{}.", 1),
        (r"^branch_1\.4\.", "auxiliary.head.fc."),
        (r"^alpha_1\.0\.", "auxiliary.head.gate."),
    ),
    {"second names of the branches' entries": r"branch_[12]_(feature|classifier)\."},
)

LAYOUTS = (_DAN, _DDAMFN, _ADA_DF)


def layout_of(keys: Iterable[str]) -> Layout | None:
    """Return the official layout that names of entries are in; None for none of the peers'."""
    names = set(keys)
    return next((layout for layout in LAYOUTS if names.issuperset(layout.marks)), None)
