"""Largest deviations of the peer networks from the golden numbers of their published implementations.

The tests assert on what this module measures; `python tests/peer_golden.py [NAME ...]` prints it.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from timm.layers import DropPath
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from golden import recipe
from parity import relative_error

import qcs
from qcs.models.checkpoint import Loaded
from qcs.models.peer_layouts import layout_of

FOLDER = Path(__file__).parent / "golden" / "peers"
LABELS = torch.tensor([1, 5])
CONSTANT = ("num_batches_tracked", "relative_position_index", "attn_mask")  # not drawn: the network's own values
STATISTICS = ("running_mean", "running_var")

State = dict[str, Tensor]
Values = dict[str, Tensor]


@dataclass(frozen=True)
class Peer:
    """A network, its golden file, and where its golden tensors arise.

    Args:
        network: The registered name.
        parameters: Number of parameters that the specification states, unused ones included.
        size: Side of the images in pixels.
        gain: Factor of all 2-D convolutions.
        taps: Golden name of the spatial mean of each module's output.
        values: Other golden tensors, from the network, the outputs of its modules by name, and its outputs.
        schemas: Names of the files that list the entries; by default that of the golden file.
        options: Arguments of the network.
        prediction: Name of the value that a plain call returns.
    """

    network: str
    parameters: int
    size: int
    gain: float
    taps: Mapping[str, str]
    values: Callable[[Any, Mapping[str, Tensor], Any], Values]
    schemas: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    prediction: str = "logits"


def spatial_mean(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def dan_values(model: Any, taken: Mapping[str, Tensor], out: Any) -> Values:
    heads = [] if model.training else model.head.attention  # in training a second call would move the statistics
    spatial = {
        f"spatial_attention{index}": head.spatial.attention(out.features)[:, 0] for index, head in enumerate(heads)
    }
    return {
        "logits": out.logits,
        "logits_before_bn": taken["head.fc"],
        "heads": out.heads,
        "head0_before_log_softmax": taken["head.attention.0"],
        **spatial,
    }


def ddamfn_values(model: Any, taken: Mapping[str, Tensor], out: Any) -> Values:
    heads = out.attention.unbind(1)
    return {
        "logits": out.logits,
        "descriptor": taken["head.pool"].flatten(1),
        **{f"head{index}_channel_mean": head.mean(1) for index, head in enumerate(heads)},
        **{f"head{index}_space_mean": spatial_mean(head) for index, head in enumerate(heads)},
    }


def ada_df_values(model: Any, taken: Mapping[str, Tensor], out: Any) -> Values:
    gates = {1: taken["auxiliary.head.gate"].sigmoid(), 2: taken["head.gate"].sigmoid()}
    return {
        "logits_1": out.auxiliary,
        "logits_2": out.logits,
        "attention_1": gates[1],
        "attention_2": gates[2],
        "attention": out.attention,
        "branch1_feature": spatial_mean(taken["auxiliary.stages.3"]),
        "branch2_feature": spatial_mean(taken["stages.3"]),
    }


def poster_v2_values(model: Any, taken: Mapping[str, Tensor], out: Any) -> Values:
    tokens = [taken[f"tokens.embed.{index}"][..., 0, 0] for index in range(3)]
    landmarks = dict(zip("abc", taken["landmarks"], strict=True))
    return {
        "logits": out,
        "feature": taken["head.gate"],
        "class_token": taken["head.norm"][:, 0],
        "tokens": torch.stack(tokens, dim=1),
        **{f"landmark_map_{name}_mean": spatial_mean(x) for name, x in landmarks.items()},
        **{f"attention{index + 1}_mean": taken[f"levels.{index}.proj"].mean(1) for index in range(3)},
    }


def poster_values(model: Any, taken: Mapping[str, Tensor], out: Any) -> Values:
    streams = zip("lms", taken["fuse.blocks.0"], strict=True)
    return {
        "logits": out,
        "feature": taken["head.gate"],
        "class_token": taken["fuse"][:, 0],
        "landmark_map_mean": spatial_mean(taken["landmarks"].high),
        "image_tokens": taken["project"][:, [0, 24, 48]],
        **{f"block0_{width}": tokens[:, [0, 50]] for width, tokens in streams},
    }


def lnsu_values(model: Any, taken: Mapping[str, Tensor], out: Any) -> Values:
    maps = {
        "patch_embed": taken["stem"],
        **{f"stage{index}": taken[f"stages.{index}.downsample"] for index in (1, 2, 3)},
        "stage4": taken["stages.3"],
    }
    return {
        "logits": out.logits,
        "heat_maps": out.heat_maps,
        "heat_maps_mirrored_input": out.flipped,
        "feature": taken["head.norm"].mean((1, 2))[:2],
        **{f"{name}_mean": x.mean((1, 2))[:2] for name, x in maps.items()},
    }


def gsdnet_values(model: Any, taken: Mapping[str, Tensor], out: Any) -> Values:
    return {
        "logits": out.logits,
        "features": out.features,
        "logits_1_before_sum": taken["sides.0.fc"],
        "feature_1_before_sum": taken["sides.0.feature"],
        "descriptor1": spatial_mean(taken["sides.0.widen"]),
        "descriptor4": spatial_mean(taken["head.attention"]),
        "prediction": out.logits[:, -1],
    }


def mfer_values(model: Any, taken: Mapping[str, Tensor], out: Any) -> Values:
    added = {
        f"ds_attention{index + 1}_mean": spatial_mean(
            taken[f"stages.{index}.blocks.{depth}"] - taken[f"stages.{index}.blocks.{depth - 1}"]
        )
        for index, depth in ((2, 27), (3, 3))
    }
    return {
        "logits": out.sum(1),
        "feature": taken["head.norm"],
        **{f"logits_{index + 1}": logits for index, logits in enumerate(out.unbind(1))},
        **added,
    }


PEERS = {
    "dan": Peer(
        network="dan_resnet18.raf_db",
        parameters=19_723_733,
        size=224,
        gain=1.25,
        taps={f"stages.{index}": f"layer{index + 1}_mean" for index in range(4)},
        values=dan_values,
    ),
    "ddamfn": Peer(
        network="ddamfn.raf_db",
        parameters=4_187_421,
        size=112,
        gain=2.375,
        taps={
            "stages.0.0": "features1_mean",
            "stages.0": "features3_mean",
            "stages.1": "features5_mean",
            "stages.2.6": "features7_mean",
            "stages.2": "features8_mean",
        },
        values=ddamfn_values,
    ),
    "adadf": Peer(
        network="ada_df_resnet18",
        parameters=22_203_728,
        size=224,
        gain=2.0,
        taps={
            "stages.0": "stem_mean",
            "auxiliary.stages.1": "branch1_layer2_mean",
            "auxiliary.stages.2": "branch1_layer3_mean",
            "stages.1": "branch2_layer2_mean",
            "stages.2": "branch2_layer3_mean",
        },
        values=ada_df_values,
        prediction="logits_2",
    ),
    "posterv2": Peer(
        network="poster_v2_ir50",
        parameters=58_316_594,
        size=224,
        gain=1.75,
        taps={
            **{f"stages.{index}": f"ir50_stage{index + 1}_mean" for index in range(3)},
            **{f"levels.{index}": f"level{index + 1}_mean" for index in range(3)},
        },
        values=poster_v2_values,
    ),
    "poster": Peer(
        network="poster_ir50",
        parameters=71_850_399,
        size=224,
        gain=1.75,
        taps={f"stages.{index}": f"ir50_stage{index + 1}_mean" for index in range(3)},
        values=poster_values,
    ),
    "lnsunet": Peer(network="lnsu_swin_tiny", parameters=28_508_417, size=112, gain=1.0, taps={}, values=lnsu_values),
    "gsdnet": Peer(
        network="gsdnet_resnet50",
        parameters=29_700_628,
        size=224,
        gain=2.25,
        taps={f"stages.{index}": f"layer{index + 1}_mean" for index in range(4)},
        values=gsdnet_values,
        prediction="prediction",
    ),
    "mfer": Peer(
        network="mfer_convnext_base",
        parameters=155_357_013,
        size=224,
        gain=1.0,
        taps={f"stages.{index}": f"stage{index + 1}_mean" for index in range(4)},
        values=mfer_values,
        schemas=("mfer", "mfer_heads"),
    ),
}


@contextmanager
def built_in(dtype: torch.dtype) -> Iterator[None]:
    """Build everything in a dtype meanwhile."""
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@cache
def schema(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the official entries by name."""
    shapes = {}
    for part in PEERS[name].schemas or (name,):
        shapes |= json.loads((FOLDER / f"{part}.schema.json").read_text())
    return {key: tuple(shape) for key, shape in shapes.items()}


def alias_of(key: str) -> str:
    """The entry whose tensor another entry of Ada-DF repeats, or the entry itself."""
    for branch in ("branch_1", "branch_2"):
        key = key.replace(f"{branch}_feature.", f"{branch}.").replace(f"{branch}_classifier.", f"{branch}.4.")
    return key


def official_state(name: str) -> State:
    """The official state dict that the golden recipe fills."""
    state: State = {}
    for key, shape in schema(name).items():
        if key.endswith(CONSTANT):
            state[key] = torch.zeros(shape, dtype=torch.long)
            continue
        value = torch.from_numpy(np.array(recipe.weight(alias_of(key), shape))).double()
        state[key] = value * PEERS[name].gain if len(shape) == 4 else value
    return state


def is_parameter(key: str) -> bool:
    """Whether an official entry is one that is trained, and not the repetition of another."""
    return not key.endswith((*CONSTANT, *STATISTICS)) and alias_of(key) == key


def names_of(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Our name of every official entry that is not dropped."""
    layout = layout_of(state)
    assert layout is not None
    return {key: layout.rename(key) for key in state if layout.translate({key: state[key]})[0]}


class Comparison:
    """Collects deviations by group, and knows which golden numbers nobody asked about."""

    def __init__(self, golden: Mapping[str, Tensor]) -> None:
        self.golden = golden
        self.errors: dict[str, float] = {}
        self._left = set(golden)

    def __call__(self, group: str, key: str, value: Tensor) -> None:
        golden = self.golden[key]
        zero = not golden.any()
        # A stored 0 is structural: only rounding is seen there.
        error = float(value.detach().abs().max()) if zero else relative_error(value, golden)
        self.errors[group] = max(self.errors.get(group, 0.0), error)
        self._left.discard(key)

    def without(self, group: str, key: str, absent: bool) -> None:
        """Record whether what has no golden number is indeed without gradient or movement."""
        assert key not in self.golden
        self.errors[group] = max(self.errors.get(group, 0.0), 0.0 if absent else math.inf)

    def finished(self) -> dict[str, float]:
        missed = {f"never compared: {key}": math.inf for key in sorted(self._left)}
        return {**self.errors, **missed}


@dataclass
class Measured:
    """What loading and running a peer with the golden inputs gave."""

    loaded: Loaded
    parameters: int
    dropped_parameters: int
    errors: dict[str, float]


def measure(name: str, dtype: torch.dtype = torch.float64) -> Measured:
    """Load the golden weights in the official layout, run the network, and compare every golden tensor."""
    peer = PEERS[name]
    state = official_state(name)
    with built_in(dtype):
        model: Any = qcs.create_model(peer.network, **peer.options)
        weights = dict(class_weights="published") if name == "lnsunet" else {}
        objective = model.objective(**weights)
    no_dropout(model)
    loaded = qcs.load_checkpoint(model, state)
    names = names_of(state)
    compare = Comparison(load_file(FOLDER / f"{name}.safetensors"))
    images = recipe.images("shared/a", 2, peer.size, dtype)
    check_inputs(compare, name, state, objective, images)
    initial = {key: value.clone() for key, value in model.named_buffers()}
    run(compare, "eval", peer, model.eval(), objective, images)
    gradients(compare, {key: model.get_parameter(ours) for key, ours in names.items() if is_parameter(key)}, objective)
    if any(key.startswith("train/") for key in compare.golden):
        with torch.no_grad():
            run(compare, "train", peer, model.train(), objective, images)
        statistics(compare, names, dict(model.named_buffers()), initial)
    if name == "adadf":
        ada_df_objective(compare)
    total = sum(math.prod(shape) for key, shape in schema(name).items() if is_parameter(key))
    own = sum(p.numel() for p in model.parameters())
    return Measured(loaded, own, total - own, compare.finished())


def no_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, DropPath):
            module.drop_prob = 0.0


def check_inputs(compare: Comparison, name: str, state: State, objective: nn.Module, images: Tensor) -> None:
    if name == "dan":
        with torch.no_grad():
            objective.centers.copy_(torch.from_numpy(recipe.draw("dan/centers", (8, 512))))
    filled = [value for key, value in state.items() if not key.endswith(CONSTANT) and alias_of(key) == key]
    compare("inputs", "check/weights_sum", sum(x.sum() for x in filled))
    compare("inputs", "check/weights_square_sum", sum(x.square().sum() for x in filled))
    compare("inputs", "check/images_square_sum", images.square().sum())


def run(compare: Comparison, mode: str, peer: Peer, model: Any, objective: Any, images: Tensor) -> None:
    """One forward pass with the objective; in evaluation mode also its backward pass."""
    taken: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda _, given, output, key=key: taken.update({key: output}))
        for key, module in model.named_modules()
    ]
    out = model.forward_outputs(images)
    for handle in handles:
        handle.remove()
    values = peer.values(model, taken, out)
    values |= {golden: spatial_mean(taken[module]) for module, golden in peer.taps.items()}
    terms = objective(out, LABELS)
    values |= {f"loss/{key}": value for key, value in terms.items() if key != "loss"}
    values["loss/total"] = terms["loss"]
    if isinstance(objective, qcs.losses.DANLoss):
        fewer = qcs.losses.DANLoss(7)
        fewer.centers = nn.Parameter(objective.centers[:7].detach())
        values["loss/affinity_7_centers"] = fewer.affinity(out.features, LABELS)
    for key, value in values.items():
        if f"{mode}/{key}" in compare.golden:
            compare(f"{mode} loss" if key.startswith("loss") else f"{mode} values", f"{mode}/{key}", value)
    if mode == "eval":
        predicted = values[peer.prediction]
        compare.errors["eval logits of the plain call"] = relative_error(model(images).detach(), predicted.detach())
        terms["loss"].backward()


def gradients(compare: Comparison, parameters: Mapping[str, nn.Parameter], objective: nn.Module) -> None:
    total = torch.zeros(())
    for key, parameter in [*parameters.items(), *objective.named_parameters()]:
        golden = f"eval/grad_norm/{key}"
        if golden not in compare.golden:
            compare.without("no gradient where none is due", golden, parameter.grad is None)
            continue
        assert parameter.grad is not None, f"no gradient for {key}"
        norm = parameter.grad.norm()
        total = total + norm.square()
        compare("eval gradient norms", golden, norm)
    compare("eval gradient norms", "eval/grad_norm_total", total.sqrt())


def statistics(
    compare: Comparison, names: Mapping[str, str], buffers: Mapping[str, Tensor], initial: Mapping[str, Tensor]
) -> None:
    for key, ours in names.items():
        if key.endswith(STATISTICS):
            golden = f"train/buffer_sum/{key}"
            if golden in compare.golden:
                compare("running statistics", golden, buffers[ours].sum())
            else:
                compare.without("still where it should be", golden, torch.equal(buffers[ours], initial[ours]))


def ada_df_objective(compare: Comparison) -> None:
    """The objective of Ada-DF by itself, in the first epoch and in the fifth."""

    def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(recipe.draw(f"adadf/{name}", shape)).double()

    with built_in(torch.float64):
        objective = qcs.losses.AdaDFLoss(7)
        labels, images = torch.arange(10) % 7, torch.arange(70) % 7
        epoch_logits = drawn("shared/a/epoch_logits", (70, 7))
    epoch_logits[torch.arange(70), images] += images
    for epoch in (1, 5):
        if epoch == 5:
            objective.end_epoch(epoch_logits, images)
            compare("objective alone", "loss_only/class_distributions", objective.class_distributions)
            objective.epoch.fill_(5)
        logits = [drawn(f"shared/a/logits_{branch}", (10, 7)).requires_grad_() for branch in (1, 2)]
        attention = (0.1 * drawn("shared/a/attention", (10, 1))).sigmoid().requires_grad_()
        terms = objective(qcs.losses.AdaDFOutput(logits[1], logits[0], attention), labels)
        inputs = {"logits_1": logits[0], "logits_2": logits[1], "attention": attention}
        grads = torch.autograd.grad(terms["loss"], list(inputs.values()))
        for key, value in terms.items():
            compare("objective alone", f"loss_only/epoch{epoch}/loss/{key.replace('loss', 'total')}", value)
        for key, grad in zip(inputs, grads, strict=True):
            compare("objective alone", f"loss_only/epoch{epoch}/grad/{key}", grad)


def main() -> None:
    """Print parameters, entries and the largest deviation of every group in float64 and float32, per network."""
    for name in sys.argv[1:] or PEERS:
        found, single = measure(name), measure(name, torch.float32)
        stated = PEERS[name].parameters
        print(f"{name}: {found.parameters:,} parameters + {found.dropped_parameters:,} dropped, stated {stated:,}")
        print(f"  {found.loaded}")
        for group, error in found.errors.items():
            print(f"  {group:<40}{error:>10.1e}{single.errors[group]:>10.1e}")


if __name__ == "__main__":
    main()
