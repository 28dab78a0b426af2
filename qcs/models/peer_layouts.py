"""The state-dict layouts of the peer networks' official implementations, translated to ours.

Only the names of the entries are needed, so no network is imported here. Entries that no output and no gradient depends
on are dropped by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from qcs.errors import InputError
from qcs.models.original import rename

Rename = tuple[str, str | Callable[[re.Match[str]], str]]


@dataclass(frozen=True)
class Layout:
    """Names of the entries of an official implementation.

    Attributes:
        network: The network, for messages.
        marks: Names of entries that only this layout holds, all of them.
        renames: Patterns and replacements, applied in order, each to the result of the ones before.
        dead: Patterns of entries to drop, by what they are.
        repeats: Patterns of dropped entries that repeat another, and the name of that one.
    """

    network: str
    marks: tuple[str, ...]
    renames: tuple[Rename, ...]
    dead: Mapping[str, str]
    repeats: tuple[tuple[str, str], ...] = ()

    def rename(self, key: str) -> str:
        """Return our name of an official one."""
        for pattern, replacement in self.renames:
            key = re.sub(pattern, replacement, key)
        return key

    def translate(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Return the entries under our names, and the counts of those dropped, by what they are.

        Raises:
            InputError: If two entries get the same name, or an entry differs from the one that it repeats.
        """
        self._check_repeats(state)
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

    def _check_repeats(self, state: Mapping[str, Tensor]) -> None:
        for pattern, replacement in self.repeats:
            for key, value in state.items():
                source = state.get(re.sub(pattern, replacement, key))
                if source is not None and not value.is_meta and not torch.equal(value, source):
                    raise InputError(
                        f"the checkpoint of {self.network} is corrupt: {key} differs from the entry that it repeats"
                    )


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
    ((r"^(branch_[12])_feature\.", r"\1."), (r"^(branch_[12])_classifier\.", r"\1.4.")),
)

# The landmark network MobileFaceNet, below a prefix in POSTER and POSTER++.
_LANDMARKS: tuple[Rename, ...] = (
    (r"^face_landback\.", "landmarks."),
    (r"^landmarks\.conv1\.", "landmarks.stem."),
    (r"^landmarks\.conv2_dw\.", "landmarks.stem_depthwise."),
    (r"^landmarks\.conv_23\.", "landmarks.stages.0.0."),
    (r"^landmarks\.conv_34\.", "landmarks.stages.1.0."),
    (r"^landmarks\.conv_45\.", "landmarks.stages.2.0."),
    (
        r"^landmarks\.conv_([345])\.model\.(\d+)\.",
        lambda match: f"landmarks.stages.{int(match[1]) - 3}.{int(match[2]) + 1}.",
    ),
    (r"^landmarks\.conv_6_sep\.", "landmarks.separate."),
    (r"^landmarks\.output_layer\.conv_6_dw\.", "landmarks.landmarks.depthwise."),
    (r"^landmarks\.output_layer\.linear\.", "landmarks.landmarks.linear."),
    (r"^landmarks\.output_layer\.bn\.", "landmarks.landmarks.norm."),
    (r"^(landmarks\.stages\.\d+\.\d+)\.conv\.", r"\1.expand."),
    (r"^(landmarks\.stages\.\d+\.\d+)\.conv_dw\.", r"\1.depthwise."),
    (r"^(landmarks\..*)\.bn\.", r"\1.norm."),
    (r"^(landmarks\..*)\.prelu\.", r"\1.act."),
)
# IR-50, named as in QCS, without the prefix of its networks.
_IR50: tuple[Rename, ...] = ((r"^ir_back\..*", lambda match: rename(match[0]).removeprefix("backbone.model.")),)
_DEAD_IR50 = {"head of the face-recognition network, unused": r"ir_back\.output_layer\."}

_POSTER_V2 = Layout(
    "POSTER++",
    ("VIT.head.linear.weight", "window1.norm.weight"),
    (
        *_LANDMARKS,
        *_IR50,
        (r"^last_face_conv\.", "landmark_conv."),
        _shifted(r"^window(\d)\.norm\.", "levels.{}.norm1.", -1),
        _shifted(r"^attn(\d)\.qkv\.", "levels.{}.kv.", -1),
        _shifted(r"^attn(\d)\.relative_position_bias_table", "levels.{}.position.relative_position_bias_table", -1),
        _shifted(r"^attn(\d)\.", "levels.{}.", -1),
        _shifted(r"^ffn(\d)\.norm\.", "levels.{}.norm2.", -1),
        _shifted(r"^ffn(\d)\.", "levels.{}.", -1),
        (r"^conv\d\..*|^embed_[qkv]\..*", lambda match: rename(match[0])),
        (r"^VIT\.se_block\.", "head.gate."),
        (r"^VIT\.head\.linear\.", "head.head."),
        (r"^VIT\.", "head."),
    ),
    {
        **_DEAD_IR50,
        "layers of the transformer, unused": (
            r"VIT\.((patch_embed|eca_block|CON1|IRLinear1|IRLinear2)\.|blocks\.\d+\.conv\.)"
        ),
        "positions of the windows, which the network computes": r"attn\d\.relative_position_index",
    },
)

_POSTER = Layout(
    "POSTER",
    ("pyramid_fuse.pos_embed", "ir_layer.weight"),
    (
        *_LANDMARKS,
        *_IR50,
        (r"^ir_layer\.", "project."),
        (r"^pyramid_fuse\.", "fuse."),
        (r"^se_block\.", "head.gate."),
        (r"^head\.linear\.", "head.fc."),
    ),
    {**_DEAD_IR50, "class token, unused": r"pyramid_fuse\.cls_token"},
)

_LNSU = Layout(
    "LNSU-Net",
    ("encoder.patch_embed.proj.weight", "head.weight"),
    (
        (r"^encoder\.patch_embed\.", "stem."),
        # Merging patches ends a stage there and begins the next one here.
        _shifted(r"^encoder\.layers\.(\d)\.downsample\.", "stages.{}.downsample.", 1),
        (r"^encoder\.layers\.", "stages."),
        (r"^norm\.", "head.norm."),
        (r"^head\.(weight|bias)", r"head.fc.\1"),
    ),
    {
        "head of the face-recognition network, unused": r"encoder\.(norm|feature)\.",
        "positions and masks of the windows, which the network computes": (
            r"encoder\.layers\..*\.(relative_position_index|attn_mask)$"
        ),
    },
)

_GSDNET = Layout(
    "GSDNet",
    ("resnet.cm4.0.ChannelGate.mlp.1.weight", "resnet.fc_4_4.weight"),
    (
        (r"^resnet\.conv1\.", "stem.conv."),
        (r"^resnet\.bn1\.", "stem.norm."),
        _shifted(r"^resnet\.layer(\d)\.", "stages.{}.", -1),
        (r"^resnet\.(cm4|fc_4|fc_4_4)\.", r"head.\1."),
        _shifted(r"^resnet\.cm(\d)\.", "sides.{}.cm.", -1),
        _shifted(r"^resnet\.fc_(\d)\.", "sides.{}.feature.", -1),
        _shifted(r"^resnet\.fc_(\d)_\d\.", "sides.{}.fc.", -1),
        (r"^head\.fc_4\.", "head.feature."),
        (r"^head\.fc_4_4\.", "head.fc."),
        (r"\.cm4?\.0\.ChannelGate\.", ".attention."),
        (r"(\.attention\.\w+)\.1\.", r"\1.fc1."),
        (r"(\.attention\.\w+)\.3\.", r"\1.fc2."),
        (r"\.cm\.1\.", ".widen.conv."),
        (r"\.cm\.2\.", ".widen.norm."),
    ),
    {},
)

_MFER = Layout(
    "MFER",
    ("downsample_layers.0.0.weight", "stages.3.3.attn.weight"),
    (
        (r"^downsample_layers\.0\.", "stem."),
        (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
        (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
        (r"\.dwconv\.", ".conv_dw."),
        (r"\.pwconv([12])\.", r".mlp.fc\1."),
        (r"\.key\.0\.", ".key.fc1."),
        (r"\.key\.2\.", ".key.fc2."),
        (r"\.attn\.", ".local."),
        (r"^norm\.", "head.norm."),
        (r"^(\d)\.fc", r"head.classifiers.\1.fc"),
    ),
    {},
)

# The networks trained for face recognition, or for landmarks, that the peers start from.

_FACE_HEAD = "head of the face-recognition network, unused"
_FACE_RESNET = Layout(
    "a face-recognition ResNet",
    ("conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer4.0.downsample.0.weight"),
    (
        (r"^conv1\.", "stem.conv."),
        (r"^bn1\.", "stem.norm."),
        _shifted(r"^layer(\d)\.", "stages.{}.", -1),
    ),
    {_FACE_HEAD: r"fc\."},
)

_MOBILE_FACE_NET = Layout(
    "MobileFaceNet",
    ("conv2_dw.conv.weight", "conv_23.conv_dw.conv.weight", "output_layer.linear.weight"),
    ((r"^", "face_landback."), *_LANDMARKS),
    {},
)

_MIXED_FEATURE_NET = Layout(
    "MixedFeatureNet",
    ("conv2_dw.conv.weight", "conv_23.conv_dw.mixed_depthwise_conv.0.weight"),
    (
        (r"^conv1\.", "features.0."),
        (r"^conv2_dw\.", "features.1."),
        (r"^conv_23\.", "features.2."),
        (r"^conv_3\.", "features.3."),
        (r"^conv_34\.", "features.4."),
        (r"^conv_4\.", "features.5."),
        (r"^conv_45\.", "features.6."),
        (r"^conv_5\.", "features.7."),
        (r"^conv_6_sep\.", "features.8."),
        *_DDAMFN.renames,
    ),
    {
        _FACE_HEAD: r"(conv_6_dw|linear|bn)\.",
        "norms and activations after the mixed convolutions, never applied": r"conv_\d+\..*conv_dw\.(bn|prelu)\.",
    },
)

_FACE_SWIN = Layout(
    "a face-recognition Swin Transformer",
    ("patch_embed.proj.weight", "layers.0.blocks.0.attn.qkv.weight", "feature.0.weight"),
    ((r"^", "encoder."), *_LNSU.renames),
    {
        _FACE_HEAD: r"(norm|feature)\.",
        "positions and masks of the windows, which the network computes": (
            r"layers\..*\.(relative_position_index|attn_mask)$"
        ),
    },
)

TRUNKS = (_FACE_RESNET, _MOBILE_FACE_NET, _MIXED_FEATURE_NET, _FACE_SWIN)
LAYOUTS = (_DAN, _DDAMFN, _ADA_DF, _POSTER_V2, _POSTER, _LNSU, _GSDNET, _MFER, *TRUNKS)


def layout_of(keys: Iterable[str]) -> Layout | None:
    """Return the official layout that names of entries are in; None for none of the peers'."""
    names = set(keys)
    return next((layout for layout in LAYOUTS if names.issuperset(layout.marks)), None)
