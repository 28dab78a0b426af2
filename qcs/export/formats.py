"""Exporting the one-branch classifier: fold, write, read back, compare, and only then let the file appear."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.data import resolve_model_data_config
from torch import Tensor

from qcs.errors import InputError
from qcs.export import onnx, openvino, torch_export, torchscript
from qcs.export.loaded import Loaded
from qcs.export.tolerance import Difference, compare, require_close
from qcs.imports import require
from qcs.models import CrossSimilarityNetwork
from qcs.models.golden import golden_images
from qcs.models.inference import fold_batch_norm

FORMATS: dict[str, Any] = {
    "onnx": onnx,
    "openvino": openvino,
    "torch-export": torch_export,
    "torchscript": torchscript,
}
"""What a network can be written as, by name."""

PRECISIONS = ("fp32", "bf16", "int8")
"""What numbers a file can hold; not every format takes every one."""


@dataclass(frozen=True)
class Export:
    """A file that was written and compared with its network.

    Attributes:
        path: The file; an OpenVINO model has its weights beside it, in a `.bin` of the same name.
        size: Bytes of all that was written.
        difference: How far its logits are from the network's.
        folded: How many batch norms were folded into convolutions.
    """

    path: Path
    size: int
    difference: Difference
    folded: int


def export_model(
    model: CrossSimilarityNetwork,
    path: str | Path,
    *,
    format: str = "onnx",
    precision: str = "fp32",
    calibration: Tensor | None = None,
) -> Export:
    """Export the base classifier of a network, for batches of any size; the file appears checked or not at all.

    Args:
        model: The network; the cross part is left out.
        path: The file to write, with the suffix of its format.
        format: `"onnx"`, `"openvino"`, `"torch-export"` or `"torchscript"`.
        precision: `"fp32"`, `"bf16"` (not ONNX) or `"int8"` (OpenVINO alone).
        calibration: For `"int8"`, normalised images (N, C, H, W) like those it will see; some hundreds.

    Returns:
        The file, and how far its logits are from the network's.

    Raises:
        InputError: If an option is unknown or does not go with the others, a package is missing, or the file computes
            something else than the network.
        OSError: If the file cannot be written.

    Example:
        >>> import qcs, tempfile
        >>> from qcs.export import export_model, load_export
        >>> model = qcs.create_model("base_nano").eval()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = export_model(model, f"{folder}/nano.pt2", format="torch-export")
        ...     print(load_export(done.path).metadata["input_size"])
        [3, 48, 48]
    """
    path = Path(path)
    check_options(format, precision, calibration is not None)
    writer = FORMATS[format]
    if path.suffix != writer.SUFFIX:
        raise InputError(f"a file of format {format} ends in {writer.SUFFIX}, got {path}")
    reference = model.inference_model().cpu().float().eval()
    batches = _batches(reference, calibration)
    network = reference.inference_model().requires_grad_(False)  # a copy to fold
    folded = fold_batch_norm(network, batches[0])
    given = {} if calibration is None else {"calibration": calibration}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
        draft = Path(folder) / path.name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracers warn of shape checks that are constant here
            writer.write(network, batches[0], draft, precision, _description(reference, precision), **given)
        difference = compare(reference, writer.load(draft).run, batches)
        require_close(difference, precision, f"the {format} file")
        files = sorted(Path(folder).iterdir())  # the weights of an OpenVINO model come before its graph
        size = sum(file.stat().st_size for file in files)
        for file in files:
            os.replace(file, path.parent / file.name)
    return Export(path, size, difference, folded)


def load_export(path: str | Path) -> Loaded:
    """Read an exported file, to run it on the CPU.

    Raises:
        InputError: If there is none, its suffix is unknown, or a package is missing.
    """
    path = Path(path)
    found = [name for name, reader in FORMATS.items() if path.suffix == reader.SUFFIX]
    if not found:
        raise InputError(f"{path} is no exported file: expected one of {_suffixes()}")
    if not path.exists():
        raise InputError(f"no exported file at {path}")
    require(*FORMATS[found[0]].PACKAGES, extra="export", purpose=found[0])
    loaded: Loaded = FORMATS[found[0]].load(path)
    return loaded


def check_options(format: str, precision: str, calibrated: bool) -> None:
    """Refuse what does not go together, before anything is read or computed.

    Raises:
        InputError: If an option is unknown or does not go with the others, or a package is missing.
    """
    if format not in FORMATS:
        raise InputError(f"unknown format {format!r}; expected one of {', '.join(FORMATS)}")
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}; expected one of {', '.join(PRECISIONS)}")
    if precision not in FORMATS[format].PRECISIONS:
        able = ", ".join(name for name, writer in FORMATS.items() if precision in writer.PRECISIONS)
        raise InputError(f"{format} is not exported in {precision}; formats that are: {able}")
    if precision == "int8" and not calibrated:
        raise InputError("int8 needs images like those it will see, some hundreds of them; give them as calibration")
    if precision != "int8" and calibrated:
        raise InputError(f"calibration is for int8 alone, got it with {precision}")
    packages = (*FORMATS[format].PACKAGES, *(["nncf"] if precision == "int8" else []))
    require(*packages, extra="export", purpose=format)


def default_path(model: CrossSimilarityNetwork, format: str, precision: str) -> Path:
    """Where to write unless told: named after architecture and precision, in the working folder."""
    name = model.pretrained_cfg.get("architecture", "model")
    return Path(f"{name}-{precision}{FORMATS[format].SUFFIX}")


def _suffixes() -> str:
    return ", ".join(reader.SUFFIX for reader in FORMATS.values())


def _batches(model: CrossSimilarityNetwork, calibration: Tensor | None) -> list[Tensor]:
    """What to compare on: the golden images, random ones in a batch of another size, calibration images."""
    channels, *size = resolve_model_data_config(model)["input_size"]
    noise = torch.randn(5, channels, *size, generator=torch.Generator().manual_seed(0))
    if calibration is None:
        return [golden_images(channels, size[0]), noise]
    if calibration.shape[1:] != noise.shape[1:] or not len(calibration):
        raise InputError(
            f"expected calibration images (N, {channels}, {size[0]}, {size[1]}), got shape {tuple(calibration.shape)}"
        )
    return [golden_images(channels, size[0]), noise, calibration[:64]]


def _description(model: CrossSimilarityNetwork, precision: str) -> str:
    about = {
        "architecture": model.pretrained_cfg.get("architecture"),
        "class_names": model.class_names,
        "precision": precision,
    }
    return json.dumps({**about, **resolve_model_data_config(model)})
