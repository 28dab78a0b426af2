"""Loading checkpoints: our own layout or the original implementation's, strictly and without running their code."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from qcs.errors import InputError
from qcs.models.network import CROSS_PREFIXES, CrossSimilarityNetwork
from qcs.models.original import from_original, is_original

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")


def load_checkpoint(model: nn.Module, source: str | Path | Mapping[str, Any]) -> None:
    """Load weights into a model, strictly: every parameter is filled, nothing is left over.

    Takes our own layout or that of the original's checkpoints, whose unused entries are dropped knowingly; also with
    `module.` prefixes or wrapped in a training checkpoint. A base network takes a full checkpoint and leaves out its
    cross part. Pickled files are read without running what they name: objects of unknown classes that lie beside the
    weights, as in the original's files, come out as inert stand-ins, and files that cannot be read so are refused.

    Args:
        model: The network to fill; it keeps its dtype and device.
        source: A `.safetensors` or PyTorch file, or a state dict.

    Raises:
        InputError: If the source cannot be read or does not fit the model; the keys are named.

    Example:
        >>> import qcs
        >>> model, other = qcs.create_model("qcs_nano"), qcs.create_model("base_nano")
        >>> qcs.load_checkpoint(other, model.state_dict())
    """
    where = "the state dict" if isinstance(source, Mapping) else str(source)
    state = read_state(source)
    if isinstance(model, CrossSimilarityNetwork) and model.branches == 1:
        state = {key: value for key, value in state.items() if not key.startswith(CROSS_PREFIXES)}
    _check_fit(model, state, where)
    model.load_state_dict(state)


def read_state(source: str | Path | Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict of a source in our layout, see `load_checkpoint`."""
    if isinstance(source, Mapping):
        state = _unwrap(source, "the state dict")
    else:
        state = _unwrap(_read(Path(source)), str(source))
    return from_original(state) if is_original(state) else state


def num_classes_in(state: Mapping[str, Tensor], where: str | Path) -> int:
    """Number of classes of the base classifier in a state dict."""
    if "base.head.weight" not in state:
        raise InputError(f"{where} holds no base classifier: expected the weights of a base, dcs or qcs network")
    return len(state["base.head.weight"])


def _read(path: Path) -> Mapping[str, Any]:
    """Content of a weights file, without running code that it may carry."""
    if not path.is_file():
        raise InputError(f"no weights file at {path}")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _load_pickle(path)
    # A damaged pickle raises anything, and PyTorch's own words on a strange one advise to run the code in it.
    except Exception as error:
        raise InputError(
            f"{path} is not a readable weights file ({type(error).__name__}): it is damaged, of another format, or "
            "holds objects that cannot be read without running their code"
        ) from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds a {type(content).__name__}, expected a state dict or a training checkpoint")
    return content


class _Inert:
    """Stands in for an object of an unknown class in a pickled file: takes anything, does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _load_pickle(path: Path) -> Any:
    zipped = zipfile.is_zipfile(path)  # files from before PyTorch 1.6 are not, and cannot be searched
    unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path) if zipped else []
    stand_ins: list[Any] = [(type(name.rpartition(".")[2], (_Inert,), {}), name) for name in unknown]
    with torch.serialization.safe_globals(stand_ins):
        return torch.load(path, map_location="cpu", weights_only=True)


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


def _check_fit(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    own = model.state_dict()
    problems = []
    if missing := own.keys() - state.keys():
        problems.append(f"{len(missing)} missing: {_some(sorted(missing))}")
    if unexpected := state.keys() - own.keys():
        problems.append(f"{len(unexpected)} unexpected: {_some(sorted(unexpected))}")
    misshapen = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if state[key].shape != own[key].shape
    ]
    if misshapen:
        problems.append(f"{len(misshapen)} of another shape: {_some(sorted(misshapen))}")
    if problems:
        raise InputError(f"{where} does not fit {_name(model)}: {'; '.join(problems)}")


def _name(model: nn.Module) -> str:
    cfg = getattr(model, "pretrained_cfg", None) or {}
    return str(cfg.get("architecture", type(model).__name__))


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "")
