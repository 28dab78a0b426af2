"""Reading checkpoints, in this library's layout or the original implementation's, and filling networks strictly.

No code that a checkpoint may carry is run. Only the names of the entries tell what a state dict is of, so this needs no
class of network.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from qcs.errors import InputError, brief
from qcs.models.original import from_original, is_original
from qcs.models.peer_layouts import layout_of
from qcs.models.pickles import load_pickle

WRAPPERS = ("state_dict", "model_state_dict", "state_dict_model", "state_dict_backbone", "model", "net")
OPTIMIZER = ({"state", "param_groups"}, {"state", "param_groups", "base_optimizer_state"})  # all that its state holds
BACKBONE = "backbone."
IR_BACKBONE = "backbone.model."  # where a network holds an `ir50`
IR_TRUNK = ("stem.", "stages.")  # of an `ir50`, by itself or as the trunk of a peer
PEER_TRUNKS = (IR_TRUNK, ("landmarks.",))  # what peers start from: each from a file of its own
COUNTER = "num_batches_tracked"  # of a batch norm; files from before PyTorch 0.4.1 have none
CROSS_PREFIXES = ("cross_modules.", "distillation.")
BASE_HEAD, BASE_TOKEN = "base.head.weight", "base.cls_token"
Part = Literal["backbone", "base"]


@dataclass(frozen=True)
class Entries:
    """A state dict in this library's layout, see `read_entries`.

    Attributes:
        where: The source, for messages.
        state: Tensors by name.
        dropped: Number of unused entries of the original's layout that were left out, by what they are.
    """

    where: str
    state: dict[str, Tensor]
    dropped: dict[str, int]


@dataclass(frozen=True)
class Loaded:
    """Counts of the entries of a source, by what was done with them.

    Attributes:
        matched: Entries that filled one of the model's each.
        dropped: Entries left out on purpose, by what they are.
        fresh: Entries of the model that were not filled, because they are outside the part asked for.
    """

    matched: int
    dropped: dict[str, int]
    fresh: int

    @property
    def total(self) -> int:
        """Entries of the source."""
        return self.matched + sum(self.dropped.values())

    def __str__(self) -> str:
        left_out = "".join(f", {count} left out ({what})" for what, count in self.dropped.items())
        fresh = f"; {self.fresh} entries of the network stay fresh" if self.fresh else ""
        return f"{self.matched} of {self.total} entries matched{left_out}{fresh}"


class MisfitError(InputError):
    """Entries do not fit a network.

    Attributes:
        entries: The entries.
        name: The name of the network.
    """

    def __init__(self, message: str, entries: Entries, name: str) -> None:
        super().__init__(message)
        self.entries = entries
        self.name = name


def fill(model: nn.Module, entries: Entries, part: Part | None = None) -> Loaded:
    """Load entries into a model strictly: each of its entries, or of the part, is filled, and nothing is left over.

    A base network takes the entries of any network and leaves out the cross part; an `ir50` takes those of any network
    with such a backbone.

    Args:
        model: The network to fill; it keeps its dtype and device.
        entries: The entries.
        part: `"backbone"` fills only the backbone of a network, or one of the trunks that a peer starts from, `"base"`
            all of it but the cross part, both as strictly; None fills everything.

    Raises:
        MisfitError: If the entries do not fit the model; their names are given.
        InputError: If the part is unknown, or the model has no such part.
    """
    chosen, what = _choose(model, entries, part)
    own = model.state_dict()
    wanted = _wanted(own, chosen, part)
    _check_fit(model, wanted, chosen, entries)
    model.load_state_dict(chosen, strict=len(wanted) == len(own))
    copy_trunk = (
        getattr(model, "trunk_loaded", None) if part == "backbone" else None
    )  # of networks that copy their trunk
    copied: int = 0 if copy_trunk is None else copy_trunk()
    left_out = len(entries.state) - len(chosen)
    dropped = {**entries.dropped, what: left_out} if left_out else entries.dropped
    return Loaded(len(chosen), dropped, fresh=len(own) - len(wanted) - copied)


def fitting_state(
    model: nn.Module, source: Mapping[str, Any], where: str, replaced: Collection[str] = ()
) -> dict[str, Tensor]:
    """Return the entries of a state dict that fill a model, which must fit as strictly as in `fill`.

    Args:
        model: The network to fill.
        source: The state dict.
        where: What it was read from, for messages.
        replaced: Names of entries that need not be there or fit, because the caller replaces them.

    Raises:
        MisfitError: If the state dict does not fit the model; the names of the entries are given.
    """
    entries = replace(read_entries(source), where=where)
    chosen, _ = _choose(model, entries, None)
    own, rest = ({k: v for k, v in x.items() if k not in replaced} for x in (model.state_dict(), chosen))
    _check_fit(model, own, rest, entries)
    return chosen


def read_entries(source: str | Path | Mapping[str, Any]) -> Entries:
    """Read a checkpoint into this library's layout.

    Args:
        source: A `.safetensors` or PyTorch file, or a state dict; in our layout or the original's, whose unused entries
            are dropped; also with `module.` or `_orig_mod.` in its names, or inside a training checkpoint.

    Raises:
        InputError: If the source cannot be read, holds no state dict, or holds values that are not finite.
    """
    where = "the state dict" if isinstance(source, Mapping) else str(source)
    state = _unwrap(source if isinstance(source, Mapping) else _read(Path(source)), where)
    check_values(state, where)
    if layout := layout_of(state):
        return Entries(where, *layout.translate(state))
    return Entries(where, *(from_original(state) if is_original(state) else (state, {})))


def check_values(state: Mapping[str, Tensor], where: str) -> None:
    """Check that every number of a state dict is one that weights can have, so that outputs are not NaN.

    Raises:
        InputError: If a tensor is not dense and real, a value is not finite or a variance is negative; it is named.
    """
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized:
            raise InputError(
                f"{where} holds {brief(name)} as {tensor.dtype} {tensor.layout}; expected dense real numbers"
            )
        if tensor.is_meta or not tensor.is_floating_point() or not tensor.numel():
            continue
        # The extrema of a tensor show NaN and infinity in one pass, without a copy.
        lowest, highest = (tensor if tensor.dtype.itemsize >= 4 else tensor.float()).aminmax()
        if not (torch.isfinite(lowest) and torch.isfinite(highest)):
            raise InputError(
                f"{where} holds values that are not finite in {brief(name)}: the training diverged or the file is "
                "corrupt; use weights from before"
            )
        if name.endswith("running_var") and lowest < 0:
            raise InputError(f"{where} holds a negative variance in {brief(name)}: the file is corrupt")


def unwrapped_name(name: str) -> str:
    """Return the name of an entry without what wrappers add: torch.compile anywhere, data-parallel modules in front.

    Example:
        >>> unwrapped_name("module._orig_mod.base.head.weight"), unwrapped_name("backbone._orig_mod.stem.weight")
        ('base.head.weight', 'backbone.stem.weight')
    """
    name = "." + name
    while "._orig_mod." in name:
        name = name.replace("._orig_mod.", ".")
    while name.startswith(".module."):
        name = name.removeprefix(".module")
    return name[1:]


def num_classes_in(state: Mapping[str, Tensor], where: str | Path) -> int:
    """Return the number of classes of the base classifier in a state dict."""
    if BASE_HEAD not in state:
        raise InputError(f"{where} holds no base classifier: expected the weights of a base, dcs or qcs network")
    return len(state[BASE_HEAD])


def is_backbone(state: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict in our layout is that of a backbone alone."""
    trunks = (BACKBONE, *(prefix for prefixes in PEER_TRUNKS for prefix in prefixes))
    return all(key.startswith(trunks) for key in state) or _is_bare_ir(state)


def has_cross_part(state: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict in our layout holds more than a base network."""
    return any(key.startswith(CROSS_PREFIXES) for key in state)


def _is_network(state: Mapping[str, Tensor]) -> bool:
    return BASE_TOKEN in state


def _is_bare_ir(state: Mapping[str, Tensor]) -> bool:
    return _holds_ir(state) and all(key.startswith((*IR_TRUNK, "head.")) for key in state)


def _holds_ir(state: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict holds an IR network without a prefix; residual units without PReLU are others'."""
    return all(f"stages.0.0.{part}.weight" in state for part in ("act", "conv2"))


def _read(path: Path) -> Mapping[str, Any]:
    """Read a weights file without running code that it may carry."""
    if not path.is_file():
        raise InputError(f"no weights file at {path}")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else load_pickle(path)
    except InputError:
        raise
    # A corrupt pickle raises anything, and PyTorch's own message on a strange one advises to run the code in it.
    except Exception as error:
        raise InputError(
            f"{path} is not a readable weights file ({type(error).__name__}): it is corrupt, of another format, or "
            "holds objects that cannot be read without running their code"
        ) from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds a {type(content).__name__}, expected a state dict or a training checkpoint")
    return content


def _unwrap(content: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if set(content) in OPTIMIZER:
        raise InputError(
            f"{where} holds the state of an optimizer and no weights, as POSTER++ writes its *_best.pth: take the "
            "checkpoint of an epoch"
        )
    if not content or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise InputError(
            f"{where} holds no state dict: expected tensors by name, or such a dict under "
            f"{', '.join(map(repr, WRAPPERS))}; found {_some(list(map(str, content))) or 'nothing'}"
        )
    state = {unwrapped_name(key): value for key, value in content.items()}
    if len(state) < len(content):
        raise InputError(f"{where} holds entries both with and without module. or _orig_mod. in their names; keep one")
    return state


def _choose(model: nn.Module, entries: Entries, part: Part | None) -> tuple[dict[str, Tensor], str]:
    """Return the entries that fill a model or a part of it, under its names, and a description of the others."""
    state, own = entries.state, model.state_dict()
    if part is not None:
        if part not in get_args(Part):
            raise InputError(f"part must be 'backbone', 'base' or None, got {part!r}")
        if part == "backbone" and _is_peer(own):
            return _trunks(state, own), "outside the backbone"
        if not _is_network(own):
            raise InputError(f"part={part!r} is for networks around a backbone, not for {_name(model)}")
        bare = {IR_BACKBONE + key: value for key, value in state.items()} if _is_bare_ir(state) else state
        what = "outside the backbone" if part == "backbone" else "cross part"
        return {key: value for key, value in bare.items() if _is_in(part, key)}, what
    if _is_bare_ir(own) and any(key.startswith(IR_BACKBONE) for key in state):
        inside = {key: value for key, value in state.items() if key.startswith(IR_BACKBONE)}
        return {key.removeprefix(IR_BACKBONE): value for key, value in inside.items()}, "outside the backbone"
    if _is_bare_ir(own) and _holds_ir(state) and not _is_bare_ir(state):
        return {key: value for key, value in state.items() if key.startswith(IR_TRUNK)}, "outside the backbone"
    if is_backbone(state) and (_is_network(own) or _is_peer(own)):
        raise InputError(
            f"{entries.where} holds a backbone alone: load it into {_name(model)} with part='backbone', which leaves "
            "everything else fresh"
        )
    if _is_network(own) and not has_cross_part(own):
        base = {key: value for key, value in state.items() if not key.startswith(CROSS_PREFIXES)}
        return base, "cross part, not in a base network"
    return state, "nothing"


def _is_peer(own: Mapping[str, Tensor]) -> bool:
    """Return whether a network is one with a trunk of its own, and more."""
    return any(key.startswith(IR_TRUNK) for key in own) and not is_backbone(own)


def _trunks(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries of the trunks that a peer has, under its names."""
    prefixes = tuple(prefix for trunk in PEER_TRUNKS for prefix in trunk if any(key.startswith(prefix) for key in own))
    bare = {key.removeprefix(IR_BACKBONE): value for key, value in state.items()}
    return {key: value for key, value in bare.items() if key.startswith(prefixes)}


def _wanted(own: Mapping[str, Tensor], chosen: Mapping[str, Tensor], part: Part | None) -> dict[str, Tensor]:
    """Return the entries of a model that are to be filled, those of the part.

    Counters of batch norms may be missing in all: no value depends on them.
    """
    if part == "backbone" and not _is_network(own):
        found = [trunk for trunk in PEER_TRUNKS if any(key.startswith(trunk) for key in chosen)] or [IR_TRUNK]
        prefixes = tuple(prefix for trunk in found for prefix in trunk)
        wanted = {key: value for key, value in own.items() if key.startswith(prefixes)}
    else:
        wanted = {key: value for key, value in own.items() if _is_in(part, key)}
    if any(key.endswith(COUNTER) for key in chosen) or not chosen:
        return wanted
    return {key: value for key, value in wanted.items() if not key.endswith(COUNTER)}


def _is_in(part: Part | None, key: str) -> bool:
    """Return whether an entry of a network belongs to a part of it; to the whole for None."""
    return part is None or (key.startswith(BACKBONE) if part == "backbone" else not key.startswith(CROSS_PREFIXES))


def _check_fit(model: nn.Module, own: Mapping[str, Tensor], state: Mapping[str, Tensor], entries: Entries) -> None:
    missing, unexpected = own.keys() - state.keys(), state.keys() - own.keys()
    misshapen = {key for key in own.keys() & state.keys() if state[key].shape != own[key].shape}
    wrong = missing | unexpected | misshapen
    if not wrong:
        return
    heads = _classifiers(model)
    kept, number = (len(x.get(f"{heads[0]}.weight", ())) if heads else 0 for x in (own, state))
    if number not in (0, kept) and wrong <= {f"{head}.{kind}" for head in heads for kind in ("weight", "bias")}:
        message = (
            f"{entries.where} holds weights for {number} classes, this {_name(model)} has {kept}: create it with "
            f"num_classes={number}; reset_classifier({kept}) then gives fresh heads"
        )
        raise MisfitError(message, entries, _name(model))
    problems = []
    if missing:
        problems.append(f"{len(missing)} missing: {_some(sorted(missing))}")
    if unexpected:
        problems.append(f"{len(unexpected)} unexpected: {_some(sorted(unexpected))}")
    if misshapen:
        shapes = (f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}" for k in sorted(misshapen))
        problems.append(f"{len(misshapen)} of another shape: {_some(list(shapes))}")
    message = f"{entries.where} does not fit {_name(model)}: {'; '.join(problems)}"
    raise MisfitError(message, entries, _name(model))


def _classifiers(model: nn.Module) -> tuple[str, ...]:
    names: str | Iterable[str] = (getattr(model, "pretrained_cfg", None) or {}).get("classifier", ())
    return (names,) if isinstance(names, str) else tuple(names)


def _name(model: nn.Module) -> str:
    cfg = getattr(model, "pretrained_cfg", None) or {}
    return str(cfg.get("architecture", type(model).__name__))


def _some(names: list[str], most: int = 4) -> str:
    # A corrupt file may name an entry anything; a message is one line.
    return ", ".join(brief(name) for name in names[:most]) + (
        f", and {len(names) - most} more" if len(names) > most else ""
    )
