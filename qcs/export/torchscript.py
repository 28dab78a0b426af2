"""TorchScript, which PyTorch deprecates, for programs that still load it."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qcs.export.loaded import Loaded, Pixels
from qcs.export.precision import InBfloat16

SUFFIX = ".torchscript"
PRECISIONS = ("fp32", "bf16")
PACKAGES = ()

jit: Any = torch.jit  # untyped in PyTorch


def write(network: nn.Module, images: Tensor, path: Path, precision: str, description: str) -> None:
    """Write a network with its description; the batch is dynamic."""
    network = InBfloat16(network).eval() if precision == "bf16" else network
    content = io.BytesIO()  # a full disk is an OSError of Python's own file
    jit.save(jit.freeze(jit.trace(network, images)), content, _extra_files={"qcs": description})
    path.write_bytes(content.getvalue())


def load(path: Path) -> Loaded:
    """Read a file."""
    extra: dict[str, Any] = {"qcs": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that TorchScript is deprecated
        network = jit.load(path, _extra_files=extra)

    @torch.inference_mode()
    def run(images: Pixels) -> Pixels:
        logits: Pixels = network(torch.from_numpy(images)).numpy()
        return logits

    return Loaded(run, json.loads(extra["qcs"]))
