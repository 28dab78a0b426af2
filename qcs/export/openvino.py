"""OpenVINO, the fastest on CPUs: an .xml file with the graph and a .bin file with the weights beside it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from qcs.export.loaded import Loaded, Pixels
from qcs.export.quantize import quantize

SUFFIX = ".xml"
PRECISIONS = ("fp32", "bf16", "int8")
PACKAGES = ("openvino",)


def write(
    network: nn.Module,
    images: Tensor,
    path: Path,
    precision: str,
    description: str,
    calibration: Tensor | None = None,
) -> None:
    """Write a network with its description; the batch is dynamic.

    Raises:
        OSError: If the files cannot be written.
    """
    import openvino

    # The converter loads NNCF where it is installed, which has PyTorch look for a CUDA compiler and complain of it.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    # From a trace, not from `torch.export`, whose decomposition takes PReLU apart.
    model = openvino.convert_model(network, example_input=images, input=[-1, *images.shape[1:]])
    if calibration is not None:
        model = quantize(model, calibration)
    model.input(0).tensor.set_names({"images"})
    model.output(0).tensor.set_names({"logits"})
    model.set_rt_info(description, ["qcs"])
    try:
        # A 16-bit float has more digits than the bfloat16 that they are rounded to when the file is read.
        openvino.save_model(model, path, compress_to_fp16=precision == "bf16")
    except RuntimeError as error:  # a full disk reaches us under this name
        raise OSError(f"cannot write {path}: {error}") from error


def load(path: Path) -> Loaded:
    """Compile a file for this CPU, with as many threads as PyTorch has, in the precision that it was exported for."""
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
