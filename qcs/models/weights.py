"""The one place that finds weights, and the format of weights files.

A weights file is a safetensors file whose metadata rebuilds its network and prepares its images.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from timm.models import get_pretrained_cfg, is_model, model_entrypoint
from torch import Tensor, nn

from qcs.errors import InputError, brief
from qcs.files import replacing
from qcs.models._hub import fetch_weights, folder_weights
from qcs.models.calibration import Calibration
from qcs.models.checkpoint import unwrapped_name
from qcs.models.metadata import NESTED as NESTED
from qcs.models.metadata import parse_metadata

BEST = "best.safetensors"  # the weights of a run folder
EMBEDDED = Path(__file__).parents[1] / "weights"  # architecture.tag.safetensors, shipped with the package
HUB_PREFIX, FOLDER_PREFIX = "hf-hub:", "local-dir:"  # of repositories on the Hub or on disk, as in timm
ACCEPTED = (
    "a weights file, a run folder, the name of shipped weights ({shipped}), hf-hub:ORG/NAME[@REVISION] or "
    "local-dir:FOLDER"
)
# Entries of timm's metadata, and its argument, that name a source of weights: untrusted metadata may not set them.
WEIGHT_SOURCES = ("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "custom_load", "cache_dir")
METADATA_KEY = "qcs"
ORIGINAL = "https://github.com/birdwcp/QCS"  # where the authors of the paper publish code and checkpoints


def find_weights(source: str | Path, *, cache_dir: str | Path | None = None) -> Path:
    """Return the weights file that a source names.

    A path that exists goes before a name.

    Args:
        source: A weights file; a run folder, for its best weights; the name of shipped weights, with or without tag;
            `hf-hub:ORG/NAME[@REVISION]` for the weights of a repository on the Hub, or `local-dir:FOLDER` for those of
            its folder on disk.
        cache_dir: Cache of downloads; None uses that of huggingface_hub.

    Raises:
        InputError: If there are no such weights, or they are not those that their repository describes.
        OSError: If they cannot be downloaded.

    Example:
        >>> from qcs.models.weights import find_weights
        >>> find_weights("qcs_small").name
        'qcs_small.ferplus.safetensors'
    """
    text = str(source)
    if text.startswith(HUB_PREFIX):
        return fetch_weights(text.removeprefix(HUB_PREFIX), cache_dir=cache_dir)
    if text.startswith(FOLDER_PREFIX):
        return folder_weights(Path(text.removeprefix(FOLDER_PREFIX)))
    path = Path(source)
    if path.is_dir():
        if not (path / BEST).is_file():
            raise InputError(f"{path} is not a run folder with weights: it has no {BEST}; give {_accepted()}")
        return path / BEST
    if path.exists():
        return path
    if shipped := embedded_weights(text):
        return shipped
    if network := _registered(text):
        raise InputError(missing_weights(network))
    raise InputError(
        f"no weights found for {text!r}: there is no such file or folder, and no weights of that name are shipped"
        f"{_suggestion(text)}; give {_accepted()}"
    )


def list_embedded() -> list[str]:
    """Return the names, `architecture.tag`, of the weights that are shipped with the package, sorted."""
    return sorted(path.stem for path in EMBEDDED.glob("*.safetensors"))


def embedded_weights(name: str) -> Path | None:
    """Return the shipped weights of a network, named with or without tag; None if there are none.

    Example:
        >>> from qcs.models.weights import embedded_weights
        >>> embedded_weights("qcs_ir50.raf_db") is None
        True
    """
    if "." not in name and (cfg := get_pretrained_cfg(name)) is not None and cfg.tag:
        name = f"{name}.{cfg.tag}"
    return EMBEDDED / f"{name}.safetensors" if name in list_embedded() else None


def missing_weights(name: str) -> str:
    """Return which file a network without weights lacks, and the commands that make and use one.

    Args:
        name: `architecture.tag` of a registered network.
    """
    architecture, _, tag = name.partition(".")
    missing = f"no weights for {name}: the package has no {name}.safetensors"
    if architecture.startswith("ir"):
        return (
            f"{missing}; load a backbone with checkpoint_path=..., such as what 'qcs convert ir50.pth --to ir50' writes"
        )
    origin = getattr(get_pretrained_cfg(name, allow_unregistered=True), "origin_url", None)
    if origin not in (None, ORIGINAL):
        return (
            f"{missing}; convert a checkpoint of the official implementation ({origin}), if you have one, with "
            f"'qcs convert CHECKPOINT --to {name}'"
        )
    if tag == "untrained":
        return f"{missing}; train it with 'qcs train --model {architecture} --data DATA', then load the run folder"
    file = f"{name}.safetensors"
    return (
        f"{missing}, and its authors publish the original checkpoint ({ORIGINAL}); download that, run "
        f"'qcs convert CHECKPOINT.pth --to {name}', then 'qcs evaluate {file} --data DATA' or, in Python, "
        f"qcs.load_model({file!r})"
    )


def _registered(name: str) -> str | None:
    """Return the `architecture.tag` of a network of this library, or None if the name is not that of one."""
    if not is_model(name) or not model_entrypoint(name).__module__.startswith("qcs."):
        return None
    try:
        cfg = get_pretrained_cfg(name)
    except RuntimeError:  # no such tag
        return None
    return f"{cfg.architecture}.{cfg.tag}" if cfg is not None else None


def _suggestion(name: str) -> str:
    shipped = list_embedded()
    close = difflib.get_close_matches(name, {*shipped, *(full.partition(".")[0] for full in shipped)}, n=2)
    return f" (did you mean {' or '.join(sorted(close))}?)" if close else ""


def _accepted() -> str:
    return ACCEPTED.format(shipped=", ".join(list_embedded()) or "none")


class SavableModel(Protocol):
    """What `save_model` needs of a network: `pretrained_cfg` of timm, arguments to rebuild it, and its weights."""

    pretrained_cfg: dict[str, Any]
    model_args: dict[str, Any]

    def state_dict(self) -> dict[str, Any]:
        """Return the weights by name."""
        ...


def save_model(model: SavableModel | nn.Module, path: str | Path, *, info: Mapping[str, Any] | None = None) -> Path:
    """Write the weights of a network with everything needed to use them; the file appears whole or not at all.

    Args:
        model: The network; class names and preprocessing are taken from its `pretrained_cfg`. Of a network wrapped by
            `torch.compile`, `DataParallel` or `DistributedDataParallel`, the network inside is written.
        path: The `.safetensors` file to write.
        info: Further metadata, for JSON: accuracy, epoch, ...

    Returns:
        The path written.

    Raises:
        InputError: If the network was not created by name.
        OSError: If the file cannot be written.

    Example:
        >>> import qcs, tempfile
        >>> model = qcs.create_model("qcs_nano")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = qcs.load_model(qcs.models.save_model(model, f"{folder}/model.safetensors"))
        >>> again.num_classes
        7
    """
    path = Path(path)
    model = _network_inside(model)
    if "architecture" not in getattr(model, "pretrained_cfg", {}):
        raise InputError("only a network created by name can be saved: create it with qcs.create_model")
    config = {
        "architecture": model.pretrained_cfg["architecture"],
        "model_args": getattr(model, "resolved_args", model.model_args),
        "pretrained_cfg": model.pretrained_cfg,
        "info": dict(info or {}),
    }
    if (calibration := getattr(model, "calibration", None)) is not None:
        config["calibration"] = calibration.to_dict()
    state = {unwrapped_name(key): value for key, value in model.state_dict().items()}  # parts may be compiled
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    return _write(path, tensors, config)


def save_calibration(source: str | Path, calibration: Calibration | None, path: str | Path | None = None) -> Path:
    """Write a weights file again with a calibration; its tensors and its other metadata stay the same.

    Args:
        source: The weights file.
        calibration: The calibration to state; None states none.
        path: The file to write; None replaces the source.

    Returns:
        The path written.

    Raises:
        InputError: If the source is not a file that `save_model` wrote.
        OSError: If the file cannot be written.
    """
    source, path = Path(source), Path(path) if path is not None else Path(source)
    config = read_config(source)
    config["calibration"] = None if calibration is None else calibration.to_dict()
    return _write(path, load_file(source), config)


def _write(path: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> Path:
    """Write a weights file; it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as unfinished:
            unfinished.touch()
            mode = unfinished.stat().st_mode  # of new files here; those of safetensors only their owner can read
            save_file(tensors, unfinished, metadata={METADATA_KEY: json.dumps(config)})
            unfinished.chmod(mode)
    except SafetensorError as error:  # how safetensors reports a full disk or a read-only folder
        raise OSError(f"cannot write {path}: {error}") from error
    return path


def _network_inside(model: SavableModel | nn.Module) -> SavableModel:
    """Return the network that wrappers such as `torch.compile` and `DistributedDataParallel` hold."""
    if isinstance(compiled := getattr(model, "_orig_mod", None), nn.Module):
        return _network_inside(compiled)
    if not hasattr(model, "pretrained_cfg") and isinstance(wrapped := getattr(model, "module", None), nn.Module):
        return _network_inside(wrapped)
    return cast(SavableModel, model)


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the metadata of a weights file: architecture, model_args, pretrained_cfg, info, calibration or None.

    Raises:
        InputError: If there is no such file, `save_model` did not write it, or a value in it cannot be right.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no weights file at {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise InputError(
            f"{path} is not a safetensors file (corrupt, or of another format): {brief(str(error))}"
        ) from error
    if METADATA_KEY not in metadata:
        raise InputError(f"{path} does not say which network it is for; load it with qcs.load_checkpoint(model, path)")
    return parse_metadata(metadata[METADATA_KEY], str(path))


def read_calibration(path: str | Path, classes: int) -> Calibration | None:
    """Return the calibration that a weights file states; None if it states none, or has no metadata.

    Args:
        path: The weights file.
        classes: Number of classes of its network.

    Raises:
        InputError: If the calibration is for another number of classes.
    """
    with safe_open(path, "pt") as file:
        if METADATA_KEY not in (file.metadata() or {}):
            return None
    stored = read_config(path)["calibration"]
    return None if stored is None else Calibration.from_dict(stored, classes, str(path))


def read_class_names(path: str | Path) -> tuple[str, ...] | None:
    """Return the class names that a weights file states, in index order; None where it states none."""
    try:
        names = read_config(path)["pretrained_cfg"].get("label_names")
    except InputError:
        return None
    return tuple(names) if names else None
