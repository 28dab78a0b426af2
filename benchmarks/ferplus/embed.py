"""Write weights into the package in half precision, with golden logits and metadata; `audit` measures them there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.data import resolve_model_data_config

from benchmarks.ferplus.data import Data
from benchmarks.ferplus.measure import evaluation, probabilities
from benchmarks.ferplus.selection import selected
from qcs.engine.run_folder import RunFolder
from qcs.errors import InputError
from qcs.models import CrossSimilarityNetwork, create_model, load_model, save_model
from qcs.models.golden import GOLDEN_INPUT, golden_logits
from qcs.models.weights import EMBEDDED, find_weights, read_config


def embed(
    run: str | Path, name: str, data: Data, choice: Mapping[str, Any], folder: Path = EMBEDDED, share: float = 1.0
) -> Path:
    """Write the chosen weights of a run into the package under a registered name, in half precision.

    No test image is used. The evaluation on validation images is of the weights in the package: rounded to half
    precision, computed in single precision.

    Args:
        run: The run folder.
        name: `architecture.tag`.
        data: The images.
        choice: Record of the choice, see `selection.select`.
        folder: Where to write.
        share: Weight of the run's final weights in the average with its initial weights, in (0, 1]; see `averaged`.

    Raises:
        InputError: If the run's network is not the one of that name, its weights do not fit into half precision, or
            the run has no initial weights to average with.
    """
    source = RunFolder(run)
    model = halved(averaged(selected(run, choice), run, share), name)
    validation, chosen = data.official["validation"], choice["chosen"]
    info = {
        "trained_with": settings_of(run),
        "share": share,
        "epoch": read_config(source.path / f"{chosen['epoch']}.safetensors")["info"]["epoch"],
        "offsets": chosen["offsets"],
        "temperature": chosen["temperature"],
        "data": dict(data.hashes("votes")),
        "validation": evaluation(probabilities(model, validation), validation).to_dict(),
        "golden": {"input": GOLDEN_INPUT, "logits": golden(model)},
    }
    for parameter in model.parameters():
        parameter.data = parameter.data.half()
    return save_model(model, folder / f"{name}.safetensors", info=info)


def settings_of(source: str | Path) -> dict[str, Any]:
    """Return the settings of a run or a weights file, including those of its initial weights and its teachers.

    The result contains no path.

    Raises:
        InputError: If neither run nor file states how it was trained.
    """
    if Path(source).is_dir():
        folder = RunFolder(source)
        settings = folder.read_config()["config"]
        settings["trained_minutes"] = round(folder.read_history()[-1]["seconds"] / 60, 1)
    else:
        settings = read_config(find_weights(source))["info"].get("trained_with")
    if settings is None:
        raise InputError(f"{source} does not state how it was trained; pass a run folder")
    init, teachers = settings.get("init"), settings.get("teachers", ())
    return {
        **settings,
        "data": Path(settings["data"]).name,
        "output": None,
        "image_root": None,
        "init": settings_of(init) if isinstance(init, str) else init,
        "teachers": [settings_of(each) if isinstance(each, str) else each for each in teachers],
    }


def averaged(model: CrossSimilarityNetwork, run: str | Path, share: float) -> CrossSimilarityNetwork:
    """Average the final weights of a run with its initial weights; randomly initialized weights stay as trained.

    The average of initial and fine-tuned weights is often better than both (Wortsman et al., Robust Fine-Tuning of
    Zero-Shot Models, arXiv 2109.01903).
    """
    if share == 1:
        return model
    start = RunFolder(run).read_config()["config"]["init"]
    if start is None:
        raise InputError(
            f"{run} started from random weights, so there is nothing to average with; use a run with --init"
        )
    before, own = load_model(start).state_dict(), model.state_dict()
    for key in before.keys() & own.keys():
        if own[key].is_floating_point():
            own[key].copy_(torch.lerp(before[key], own[key], share))
    return model


def restated(path: Path) -> Path:
    """Write a weights file again with every size of its backbone stated; weights and other metadata stay as they are.

    Files from before sizes were stated rely on the defaults of their names, which may change.
    """
    model, stored = load_model(path), load_file(path)
    state = model.state_dict()
    assert all(torch.equal(value.to(state[key].dtype), state[key]) for key, value in stored.items())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in stored:
            tensor.data = tensor.data.to(stored[name].dtype)
    return save_model(model, path, info=read_config(path)["info"])


def halved(model: CrossSimilarityNetwork, name: str) -> CrossSimilarityNetwork:
    """Create the network of a name with the weights of another one, rounded to half precision.

    Running statistics keep full precision: they are few, and a variance may be too large for half precision.
    """
    named: Any = create_model(name)
    own = model.resolved_args
    differing = {key: (value, own[key]) for key, value in named.resolved_args.items() if own[key] != value}
    if differing or named.class_names != model.class_names:
        raise InputError(f"the run's network is not {name}: {differing or model.class_names}")
    weights = {key for key, _ in model.named_parameters()}
    rounded = {k: v.half().to(v.dtype) if k in weights else v for k, v in model.state_dict().items()}
    if not all(bool(torch.isfinite(value).all()) for value in rounded.values()):
        raise InputError("some weights are too large for half precision")
    named.load_state_dict(rounded)
    return named.eval()


def golden(model: CrossSimilarityNetwork) -> list[list[float]]:
    """Return golden logits in the form that files store."""
    channels, side, _ = resolve_model_data_config(model)["input_size"]
    return golden_logits(model, channels, side).tolist()
