"""Loading checkpoints: our own layout or the original implementation's, strictly and without running their code."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from safetensors.torch import load_file
from torch import Tensor, nn

from qcs.errors import InputError
from qcs.models.ir import IRNet
from qcs.models.network import CROSS_PREFIXES, CrossSimilarityNetwork
from qcs.models.original import from_original, is_original
from qcs.models.unpickle import load_pickle

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
BACKBONE = "backbone."
Part = Literal["backbone", "base"]
IR_BACKBONE = "backbone.model."  # where a network holds an `ir50`


@dataclass(frozen=True)
class Entries:
    """The state dict of a source in our layout, see `read_entries`.

    Attributes:
        where: The source, for messages.
        state: Tensors by our names.
        dropped: How many entries of the original's layout were left out, by what they are.
    """

    where: str
    state: dict[str, Tensor]
    dropped: dict[str, int]


@dataclass(frozen=True)
class Loaded:
    """What became of every entry of a source.

    Attributes:
        matched: Entries that filled one of the model's each.
        dropped: Entries knowingly left out, by what they are.
        fresh: Entries of the model that were not filled: those outside the part that was asked for.
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


def load_checkpoint(model: nn.Module, source: str | Path | Mapping[str, Any], *, part: Part | None = None) -> Loaded:
    """Load weights into a model, strictly: every parameter is filled, nothing is left over.

    Takes our own layout or that of the original's checkpoints, whose unused entries are dropped knowingly; also with
    `module.` prefixes or wrapped in a training checkpoint. A base network takes a full checkpoint and leaves out its
    cross part, an `ir50` takes any with such a backbone. Pickled files are read without running what they name:
    objects of unknown classes that lie beside the weights, as in the original's files, come out as inert stand-ins;
    files that name what runs programs, or that cannot be read so, are refused.

    Args:
        model: The network to fill; it keeps its dtype and device.
        source: A `.safetensors` or PyTorch file, or a state dict.
        part: What to fill, as strictly, from weights with or without more: `"backbone"` only the backbone of a
            network, `"base"` all of it but the cross part, which is how a trained base network goes on with comparing;
            None fills everything.

    Returns:
        How many entries of the source matched, and how many were dropped and why.

    Raises:
        InputError: If the source cannot be read or does not fit the model; the keys are named.

    Example:
        >>> import qcs
        >>> model, other = qcs.create_model("qcs_nano"), qcs.create_model("base_nano")
        >>> print(qcs.load_checkpoint(other, model.state_dict()))
        90 of 145 entries matched, 55 left out (cross part, not in a base network)
    """
    return fill(model, read_entries(source), part)


def fill(model: nn.Module, entries: Entries, part: Part | None = None) -> Loaded:
    """Load entries that are read already, see `load_checkpoint`."""
    chosen, what = _choose(model, entries, part)
    own = model.state_dict()
    wanted = {key: value for key, value in own.items() if _is_in(part, key)}
    _check_fit(model, wanted, chosen, entries)
    model.load_state_dict(chosen, strict=part is None)
    left_out = len(entries.state) - len(chosen)
    dropped = {**entries.dropped, what: left_out} if left_out else entries.dropped
    return Loaded(len(chosen), dropped, fresh=len(own) - len(wanted))


def fitting_state(
    model: nn.Module, source: Mapping[str, Any], where: str, replaced: Collection[str] = ()
) -> dict[str, Tensor]:
    """The entries of a state dict that fill a model, which must fit as strictly as in `load_checkpoint`.

    Args:
        model: The network to fill.
        source: The state dict.
        where: What it was read from, for messages.
        replaced: Names of entries that need not be there or fit, because whoever loads the state replaces them.

    Raises:
        InputError: If the state dict does not fit the model; the keys are named.
    """
    entries = replace(read_entries(source), where=where)
    chosen, _ = _choose(model, entries, None)
    own, rest = ({k: v for k, v in x.items() if k not in replaced} for x in (model.state_dict(), chosen))
    _check_fit(model, own, rest, entries)
    return chosen


def read_entries(source: str | Path | Mapping[str, Any]) -> Entries:
    """The tensors of a source under our names, see `load_checkpoint`.

    Raises:
        InputError: If the source cannot be read or holds no state dict.
    """
    where = "the state dict" if isinstance(source, Mapping) else str(source)
    state = _unwrap(source if isinstance(source, Mapping) else _read(Path(source)), where)
    return Entries(where, *(from_original(state) if is_original(state) else (state, {})))


def num_classes_in(state: Mapping[str, Tensor], where: str | Path) -> int:
    """Number of classes of the base classifier in a state dict."""
    if "base.head.weight" not in state:
        raise InputError(f"{where} holds no base classifier: expected the weights of a base, dcs or qcs network")
    return len(state["base.head.weight"])


def is_backbone(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict in our layout is that of a backbone and nothing else."""
    return all(key.startswith(BACKBONE) for key in state) or _is_bare_ir(state)


def has_cross_part(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict in our layout holds more than a base network."""
    return any(key.startswith(CROSS_PREFIXES) for key in state)


def _is_bare_ir(state: Mapping[str, Tensor]) -> bool:
    return "stem.conv.weight" in state and "stages.0.0.conv2.weight" in state


def _read(path: Path) -> Mapping[str, Any]:
    """Content of a weights file, without running code that it may carry."""
    if not path.is_file():
        raise InputError(f"no weights file at {path}")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else load_pickle(path)
    except InputError:
        raise
    # A damaged pickle raises anything, and PyTorch's own words on a strange one advise to run the code in it.
    except Exception as error:
        raise InputError(
            f"{path} is not a readable weights file ({type(error).__name__}): it is damaged, of another format, or "
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
    if not content or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise InputError(
            f"{where} holds no state dict: expected tensors by name, or such a dict under "
            f"{', '.join(map(repr, WRAPPERS))}; found {_some(list(map(str, content))) or 'nothing'}"
        )
    return {key.removeprefix("module."): value for key, value in content.items()}


def _choose(model: nn.Module, entries: Entries, part: Part | None) -> tuple[dict[str, Tensor], str]:
    """The entries that a model, or a part of it, is to be filled from, by its names; and what the others are."""
    state = entries.state
    if part is not None and part not in get_args(Part):
        raise InputError(f"part must be 'backbone', 'base' or None, got {part!r}")
    if part is not None:
        if not isinstance(model, CrossSimilarityNetwork):
            raise InputError(f"part={part!r} is for networks around a backbone, not for {_name(model)}")
        bare = {IR_BACKBONE + key: value for key, value in state.items()} if _is_bare_ir(state) else state
        what = "outside the backbone" if part == "backbone" else "cross part"
        return {key: value for key, value in bare.items() if _is_in(part, key)}, what
    if isinstance(model, IRNet) and any(key.startswith(IR_BACKBONE) for key in state):
        inside = {key: value for key, value in state.items() if key.startswith(IR_BACKBONE)}
        return {key.removeprefix(IR_BACKBONE): value for key, value in inside.items()}, "outside the backbone"
    if isinstance(model, CrossSimilarityNetwork) and is_backbone(state):
        raise InputError(
            f"{entries.where} holds a backbone alone: load it into {_name(model)} with part='backbone', which leaves "
            "everything else fresh"
        )
    if isinstance(model, CrossSimilarityNetwork) and model.branches == 1:
        base = {key: value for key, value in state.items() if not key.startswith(CROSS_PREFIXES)}
        return base, "cross part, not in a base network"
    return state, "nothing"


def _is_in(part: Part | None, key: str) -> bool:
    """Whether an entry of a network belongs to a part of it, or to the whole for None."""
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
        raise InputError(
            f"{entries.where} holds weights for {number} classes, this {_name(model)} has {kept}: create it with "
            f"num_classes={number}; reset_classifier({kept}) then gives fresh heads{_other_names(model, entries)}"
        )
    problems = []
    if missing:
        problems.append(f"{len(missing)} missing: {_some(sorted(missing))}")
    if unexpected:
        problems.append(f"{len(unexpected)} unexpected: {_some(sorted(unexpected))}")
    if misshapen:
        shapes = (f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}" for k in sorted(misshapen))
        problems.append(f"{len(misshapen)} of another shape: {_some(list(shapes))}")
    raise InputError(
        f"{entries.where} does not fit {_name(model)}: {'; '.join(problems)}{_other_names(model, entries)}"
    )


def _classifiers(model: nn.Module) -> tuple[str, ...]:
    names: str | Iterable[str] = (getattr(model, "pretrained_cfg", None) or {}).get("classifier", ())
    return (names,) if isinstance(names, str) else tuple(names)


def _other_names(model: nn.Module, entries: Entries) -> str:
    from qcs.models.recognition import fitting_names  # builds every network, and needs this module to do so

    names = [name for name in fitting_names(entries) if name != _name(model)]
    return f". Its shapes are those of {' or '.join(names)}" if names else ""


def _name(model: nn.Module) -> str:
    cfg = getattr(model, "pretrained_cfg", None) or {}
    return str(cfg.get("architecture", type(model).__name__))


def _some(names: list[str], most: int = 4) -> str:
    # A damaged file may name an entry anything; a message is one line.
    return ", ".join(" ".join(name.split()) for name in names[:most]) + (
        f", and {len(names) - most} more" if len(names) > most else ""
    )
