"""Write and read `torch.export`: for PyTorch without this library, `torch.compile` and AOTInductor."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qcs.export.loaded import Loaded, Pixels
from qcs.export.precision import InBfloat16

SUFFIX = ".pt2"
PRECISIONS = ("fp32", "bf16")
PACKAGES = ()


def write(network: nn.Module, images: Tensor, path: Path, precision: str, description: str) -> None:
    """Write a network with its metadata; the batch size is dynamic."""
    network = InBfloat16(network) if precision == "bf16" else network
    program = torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch", max=2**31 - 1)},))
    content = io.BytesIO()  # written by Python, a full disk raises OSError
    torch.export.save(program, content, extra_files={"qcs": description})
    path.write_bytes(content.getvalue())


def load(path: Path) -> Loaded:
    """Load a file; it runs in eager mode."""
    extra: dict[str, Any] = {"qcs": ""}
    network = torch.export.load(path, extra_files=extra).module()

    @torch.inference_mode()
    def run(images: Pixels) -> Pixels:
        logits: Pixels = network(torch.from_numpy(images)).numpy()
        return logits

    return Loaded(run, json.loads(extra["qcs"]))
