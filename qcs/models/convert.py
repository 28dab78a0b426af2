"""Converting checkpoints of the original implementation to weights files of this library, and verifying the result."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from qcs.errors import InputError
from qcs.models.checkpoint import Entries, Loaded, is_backbone, num_classes_in, read_entries
from qcs.models.factory import class_of, create_model, fitting_names, list_models, load_entries, load_model
from qcs.models.golden import GOLDEN_INPUT, check_golden, golden_logits, image_size
from qcs.models.ir import IRNet
from qcs.models.network import CrossSimilarityNetwork
from qcs.models.original import BILINEAR
from qcs.models.peers import PeerNetwork
from qcs.models.weights import find_weights, save_model


@dataclass(frozen=True)
class Conversion:
    """Result of `convert_checkpoint`.

    Attributes:
        path: The file written.
        name: The network it is for.
        loaded: Counts of the entries of the checkpoint, by what was done with them.
        golden: Logits (2, classes) of the written network for the golden input, as in the file.
    """

    path: Path
    name: str
    loaded: Loaded
    golden: list[list[float]]


def convert_checkpoint(
    source: str | Path | Sequence[str | Path], name: str | None = None, output: str | Path | None = None
) -> Conversion:
    """Write a checkpoint of the original implementation as a weights file of this library.

    Every entry of the checkpoint fills one of the network's or is dropped for a stated reason; anything left over or
    missing is an error. The file is written under a temporary name and read back: its tensors must equal those of the
    checkpoint bit by bit, and its network must give the same logits as one filled from the checkpoint itself.

    Checkpoints of the networks that a peer starts from, trained for face recognition or landmarks, fill its trunk. The
    other entries are random, the same in every file, and counted as fresh: such a file is a start for training.

    Args:
        source: The checkpoint, see `load_checkpoint`; several where a peer starts from several.
        name: The network with its tag, such as `"qcs_ir50.raf_db"`; `"ir50"` for the backbone alone.
        output: The `.safetensors` file to write; None names it after the network, in the current folder.

    Returns:
        The counts, and the golden logits that the file states under `info["golden"]`.

    Raises:
        InputError: If the name does not say which network, or the checkpoint cannot be read or does not fit it.
        OSError: If the file cannot be written.
    """
    sources = [source] if isinstance(source, (str, Path)) else list(source)
    read = [read_entries(find_weights(each)) for each in sources]
    start = name is not None and class_of(name.partition(".")[0]) is not CrossSimilarityNetwork
    start = start and all(is_backbone(each.state) for each in read)
    if len(read) > 1 and not start:
        raise InputError("several checkpoints fill one network only if each is of a trunk that a peer starts from")
    entries = read[0]
    name = _checked_name(name, entries)
    path = Path(output or f"{name}.safetensors")
    if path.suffix != ".safetensors":
        raise InputError(f"converted weights are written as .safetensors, got {path}")
    if path.exists():
        raise InputError(f"{path} exists already; choose another output")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = _network(name, entries.state, entries.where)
    loaded = _filled(model, read) if start else load_entries(model, entries)
    golden = _golden(model, entries.where)
    info = {
        "converted_from": ", ".join(Path(each).name for each in sources),
        "entries": {"matched": loaded.matched, "dropped": loaded.dropped, "total": loaded.total, "fresh": loaded.fresh},
        "golden": {"input": GOLDEN_INPUT, "logits": golden},
    }
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.safetensors")
    try:
        save_model(cast(Any, model), temporary, info=info)
        _verify(temporary, model.state_dict(), golden)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return Conversion(path, name, loaded, golden)


def _filled(model: nn.Module, read: Sequence[Entries]) -> Loaded:
    """Fill the trunks of a peer; return the counts of all checkpoints together."""
    parts = [load_entries(model, entries, "backbone") for entries in read]
    total = len(model.state_dict())
    dropped = {what: sum(part.dropped.get(what, 0) for part in parts) for part in parts for what in part.dropped}
    fresh = total - sum(total - part.fresh for part in parts)
    if fresh < 0:
        raise InputError("two of the checkpoints fill the same trunk; give one of them")
    return Loaded(sum(part.matched for part in parts), dropped, fresh)


def _checked_name(name: str | None, entries: Entries) -> str:
    """Return the name after checking that it determines the network."""
    architecture, _, tag = (name or "").partition(".")
    if name is None or (not tag and len(list_models(f"{architecture}.*", tags=True)) > 1):
        names = fitting_names(entries)
        raise InputError(
            f"state the network of {entries.where} (--to NAME, with its tag): "
            + (f"its shapes are those of {' or '.join(names)}" if names else "its shapes are those of none")
            + ", and the tag fixes residual stream, dropout and class order, which weights do not show"
        )
    if BILINEAR in entries.dropped and tag not in ("affectnet8", ""):
        raise InputError(f"{entries.where} is not of {name}: it holds the {BILINEAR}; take dcs_ir50.affectnet8")
    return name


def _network(name: str, state: Mapping[str, Tensor], where: str) -> nn.Module:
    """Create the network, with the number of classes of the state dict where the name fixes none."""
    model = create_model(name)
    if isinstance(model, IRNet):
        model.reset_classifier(0)
        backbone: Any = model
        backbone.model_args = {"num_classes": 0}
        backbone.pretrained_cfg = {**backbone.pretrained_cfg, "num_classes": 0, "tag": ""}  # its tag is "untrained"
    elif isinstance(model, CrossSimilarityNetwork) and "label_names" not in model.pretrained_cfg:
        model.reset_classifier(num_classes_in(state, where))
    elif isinstance(model, PeerNetwork) and "label_names" not in model.pretrained_cfg:
        head = state.get(f"{model.pretrained_cfg['classifier'][0]}.weight")
        if head is not None and len(head) != model.num_classes:
            model.reset_classifier(len(head))
    return model


def _golden(model: nn.Module, where: str) -> list[list[float]]:
    """Return the golden logits of a network as plain numbers."""
    logits = golden_logits(model, *image_size(model))
    if not logits.isfinite().all():
        raise InputError(f"the weights in {where} are corrupt: their logits for the golden input are NaN or infinite")
    numbers: list[list[float]] = logits.tolist()
    return numbers


def _verify(path: Path, state: Mapping[str, Tensor], golden: list[list[float]]) -> None:
    """Read a written file back and check that every tensor equals the filled network's and the logits are the same."""
    model = load_model(path)
    for key, value in model.state_dict().items():
        if not torch.equal(value, state[key]):
            raise OSError(f"{path} does not read back as it was written: {key} differs")
    check_golden(model, golden, *image_size(model))
