"""Export the inference network: fold batch norms, write, read back, compare; the file appears only if it is right."""

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
from torch import Tensor, nn

from qcs.data.transforms import ModelInput
from qcs.errors import InputError, check_choice
from qcs.export import onnx, openvino, torch_export
from qcs.export.loaded import Loaded
from qcs.export.tolerance import Difference, compare, require_close
from qcs.faces.alignment import template
from qcs.imports import require
from qcs.models import Classifier
from qcs.models.calibration import CalibratedLogits
from qcs.models.golden import golden_images
from qcs.models.inference import fold_batch_norm

FORMATS: dict[str, Any] = {
    "onnx": onnx,
    "openvino": openvino,
    "torch-export": torch_export,
}
"""Modules that write and read a format, by its name."""

PRECISIONS = ("fp32", "bf16", "int8")
"""Precisions of exported weights; not every format supports each."""


@dataclass(frozen=True)
class Export:
    """An exported file that was compared with its network.

    Attributes:
        path: The file; OpenVINO stores the weights beside it, in a `.bin` file of the same name.
        size: Size of all written files in bytes.
        difference: Difference between its logits and those of the network.
        folded: Number of batch norms folded into convolutions.
    """

    path: Path
    size: int
    difference: Difference
    folded: int


def export_model(
    model: Classifier,
    path: str | Path,
    *,
    format: str = "onnx",
    precision: str = "fp32",
    calibration: Tensor | None = None,
    face_crop: str | None = None,
) -> Export:
    """Export the base classifier of a network for batches of any size; the file appears checked or not at all.

    Args:
        model: The network; the cross part is left out.
        path: File to write, with the suffix of its format.
        format: `"onnx"`, `"openvino"` or `"torch-export"`.
        precision: `"fp32"`, `"bf16"` (not ONNX) or `"int8"` (OpenVINO and ONNX).
        calibration: For `"int8"`, a few hundred normalized images (N, C, H, W) like those of the later use.
        face_crop: Crop template of the faces that the network was trained on, see `qcs.engine.trained_crop`; None if
            it is unknown.

    Returns:
        The file and the difference between its logits, calibrated if the network is, and those of the network.

    Raises:
        InputError: If an option is unknown or incompatible with the others, a package is missing, or the logits of the
            file differ too much from those of the network.
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
    example, batches = _images(reference, calibration)
    network: nn.Module = reference.inference_model().requires_grad_(False)  # a copy to fold
    folded = fold_batch_norm(network, example)
    network, expected = (_calibrated(each, reference) for each in (network, reference))
    about = describe(reference, precision, face_crop)
    given = {} if calibration is None else {"calibration": calibration}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
        draft = Path(folder) / path.name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracers warn of shape checks that are constant here
            writer.write(network, example, draft, precision, about, **given)
        difference = compare(expected, writer.load(draft).run, batches)
        require_close(difference, precision, f"the {format} file")
        files = sorted(Path(folder).iterdir())  # the weights of an OpenVINO model come before its graph
        size = sum(file.stat().st_size for file in files)
        for file in files:
            os.replace(file, path.parent / file.name)
    return Export(path, size, difference, folded)


def load_export(path: str | Path) -> Loaded:
    """Load an exported file to run it on the CPU.

    Raises:
        InputError: If it does not exist, its suffix is unknown, or a package is missing.
    """
    path = Path(path)
    found = [name for name, reader in FORMATS.items() if path.suffix == reader.SUFFIX]
    if not found:
        raise InputError(f"{path} is not an exported file; expected one of {_suffixes()}")
    if not path.exists():
        raise InputError(f"no exported file at {path}")
    require(*FORMATS[found[0]].PACKAGES, extra="export", purpose=found[0])
    loaded: Loaded = FORMATS[found[0]].load(path)
    return loaded


def check_options(format: str, precision: str, calibrated: bool) -> None:
    """Check the options of an export before anything is read or computed.

    Raises:
        InputError: If an option is unknown or incompatible with the others, or a package is missing.
    """
    check_choice("format", format, FORMATS)
    check_choice("precision", precision, PRECISIONS)
    if precision not in FORMATS[format].PRECISIONS:
        able = ", ".join(name for name, writer in FORMATS.items() if precision in writer.PRECISIONS)
        raise InputError(f"{format} is not exported in {precision}; formats that are: {able}")
    if precision == "int8" and not calibrated:
        raise InputError("int8 needs calibration images, a few hundred like those of the later use; give calibration")
    if precision != "int8" and calibrated:
        raise InputError(f"calibration is for int8 only, got precision {precision}")
    packages = (*FORMATS[format].PACKAGES, *(FORMATS[format].INT8_PACKAGES if precision == "int8" else ()))
    require(*packages, extra="export", purpose=format)


def default_path(model: Classifier, format: str, precision: str) -> Path:
    """Return the default path: named after architecture and precision, in the current folder."""
    name = model.pretrained_cfg.get("architecture", "model")
    return Path(f"{name}-{precision}{FORMATS[format].SUFFIX}")


def _suffixes() -> str:
    return ", ".join(reader.SUFFIX for reader in FORMATS.values())


def _images(model: Classifier, calibration: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """Return images to trace with, and batches of two sizes to compare on.

    Those are golden and random images; for int8 they are calibration images, because values beyond theirs are clipped.
    """
    channels, *size = resolve_model_data_config(model)["input_size"]
    noise = torch.randn(5, channels, *size, generator=torch.Generator().manual_seed(0))
    example = golden_images(channels, size[0])
    if calibration is None:
        return example, [example, noise]
    if calibration.shape[1:] != noise.shape[1:] or not len(calibration):
        raise InputError(
            f"expected calibration images (N, {channels}, {size[0]}, {size[1]}), got shape {tuple(calibration.shape)}"
        )
    return example, [calibration[:5], calibration[:64]]


def _calibrated(network: nn.Module, model: Classifier) -> nn.Module:
    """Return the network with the calibration of a model as its last layer: a softmax of the output is calibrated."""
    if model.calibration is None:
        return network
    return nn.Sequential(network, CalibratedLogits(model.calibration.label)).eval()


def describe(model: Classifier, precision: str, face_crop: str | None) -> str:
    """Return all that a program without this library needs: classes, and how to make the input from a photograph."""
    config = resolve_model_data_config(model)
    channels, *size = config["input_size"]
    resized = ModelInput(config).resized(round(min(size) / config["crop_pct"]))
    about = {
        "architecture": model.pretrained_cfg.get("architecture"),
        "class_names": model.class_names,
        "precision": precision,
        "calibration": None
        if model.calibration is None
        else {**model.calibration.to_dict(), "applied": "in the graph"},
        "mode": "L" if channels == 1 else "RGB",
        "resize": resized,
        "face_crop": face_crop,
        "landmarks": None if face_crop is None else template(face_crop, resized[0]).tolist(),
    }
    return json.dumps({**about, **config})
