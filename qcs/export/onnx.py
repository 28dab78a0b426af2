"""Write and read ONNX, for ONNX Runtime and other runtimes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qcs.export.loaded import Loaded, Pixels
from qcs.export.quantize import quantize_onnx
from qcs.imports import onnxruntime

SUFFIX = ".onnx"
PRECISIONS = ("fp32", "int8")
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
INT8_PACKAGES = ()


def write(
    network: nn.Module,
    images: Tensor,
    path: Path,
    precision: str,
    description: str,
    calibration: Tensor | None = None,
) -> None:
    """Write a network with its metadata; the batch size is dynamic."""
    program: Any = torch.onnx.export(
        network,
        (images,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch", max=2**31 - 1)},),
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
    )
    program.model.metadata_props["qcs"] = description
    if calibration is None:
        program.save(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        floating = Path(folder, path.name)
        program.save(floating)
        quantize_onnx(floating, path, calibration)


def load(path: Path) -> Loaded:
    """Load a file into ONNX Runtime on the CPU, with as many threads as PyTorch has."""
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: Pixels) -> Pixels:
        logits: Pixels = session.run(None, {"images": images})[0]
        return logits

    return Loaded(run, json.loads(session.get_modelmeta().custom_metadata_map["qcs"]))
