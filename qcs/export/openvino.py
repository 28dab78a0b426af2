"""Write and read OpenVINO, the fastest runtime on CPUs: an .xml file with the graph, a .bin file with the weights."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from qcs.export.loaded import Loaded, Pixels
from qcs.export.quantize import quantize_openvino

SUFFIX = ".xml"
PRECISIONS = ("fp32", "bf16", "int8")
PACKAGES = ("openvino",)
INT8_PACKAGES = ("nncf",)


def write(
    network: nn.Module,
    images: Tensor,
    path: Path,
    precision: str,
    description: str,
    calibration: Tensor | None = None,
) -> None:
    """Write a network with its metadata; the batch size is dynamic.

    Raises:
        OSError: If the files cannot be written.
    """
    import openvino

    # The converter imports NNCF if it is installed, which makes PyTorch look for a CUDA compiler and warn about it.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    # By tracing, not by `torch.export`, which decomposes PReLU.
    model = openvino.convert_model(network, example_input=images, input=[-1, *images.shape[1:]])
    if calibration is not None:
        model = quantize_openvino(model, calibration)
    model.input(0).tensor.set_names({"images"})
    model.output(0).tensor.set_names({"logits"})
    model.set_rt_info(description, ["qcs"])
    try:
        # float16 has more digits than bfloat16, to which the weights are rounded when the file is loaded.
        openvino.save_model(model, path, compress_to_fp16=precision == "bf16")
    except RuntimeError as error:  # how OpenVINO reports a full disk
        raise OSError(f"cannot write {path}: {error}") from error


def load(path: Path) -> Loaded:
    """Compile a file for this CPU, with as many threads as PyTorch has, in the precision of its export."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    metadata = json.loads(model.get_rt_info(["qcs"]).astype(str))
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "bf16" if metadata["precision"] == "bf16" else "f32",
    }
    request = core.compile_model(model, "CPU", options).create_infer_request()

    def run(images: Pixels) -> Pixels:
        logits: Pixels = request.infer([images], share_inputs=True)[0]
        return logits

    return Loaded(run, metadata)
