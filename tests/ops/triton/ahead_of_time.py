"""Compiles every kernel as the launchers would for GPUs that need not be here, and reads what the machine code takes.

`python tests/ops/triton/ahead_of_time.py` prints the table.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from qcs.ops.triton import distance, operators

SHARED_LIMIT = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}
"""Bytes of shared memory a program may have, by compute capability."""

DTYPES = (torch.float32, torch.bfloat16)


class Use(NamedTuple):
    """One way of calling the operator: kernels are compiled for each apart."""

    tokens: int
    channels: int
    images: int = 4
    matrices: str = "sd"
    scope: str = "batch"
    learned_gain: bool = True


USES = (
    Use(49, 768),  # the published cross module
    Use(784, 256),  # distances do not fit a tile
    Use(16, 64, scope="sample", learned_gain=False),
    Use(1, 1, images=2, matrices="s", learned_gain=False),  # integers of 1 become constants when compiled
    Use(100, 17, matrices="d", scope="sample", learned_gain=False),  # no stride is a multiple of 16
)


class Resources(NamedTuple):
    """What one kernel takes."""

    kernel: str
    channels: int
    capability: int
    dtype: str
    registers: int
    stack: int
    """Bytes of spilled registers."""
    shared: int
    warps: int


class _Absent:
    """Stands for the driver of a GPU that is not here, as far as compiling asks."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_device(self) -> int:
        return self.capability  # compiled kernels are cached by device

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)


def compile_all(capability: int, dtype: torch.dtype) -> list[Resources]:
    """Every kernel of every operator, with the settings that the launchers choose."""
    rows: list[Resources] = []
    compile_or_run = JITFunction.run

    def only_compile(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        compiled = compile_or_run(kernel, *args, grid=grid, warmup=True, **kwargs)
        name = f"{kernel.module.rsplit('.', 1)[-1]}.{kernel.fn.__name__}"
        row = Resources(name, use.channels, capability, str(dtype).split(".")[1], *_resources(compiled))
        if row not in rows:
            rows.append(row)

    absent = mock.patch.object(driver, "_active", _Absent(capability))
    with absent, mock.patch.object(JITFunction, "run", only_compile):
        for use in USES:
            _launch_everything(use, dtype)
    return rows


def _launch_everything(use: Use, dtype: torch.dtype) -> None:
    """Forward and backward of each operator on tensors without memory."""
    images = list(torch.empty(use.images, 24, use.tokens, use.channels, dtype=dtype, device="meta"))
    gain, grad_gain = torch.empty(2, device="meta").unbind() if use.learned_gain else (None, None)
    form = operators.Form.of(use.matrices, use.scope)
    weights, kept = operators._allocate(images, form)
    gradients = operators._like(images)
    launches = operators._launches(images)
    launches.forward(images, gain, 1.0, form, weights, kept)
    launches.backward(weights, images, gain, 1.0, form, kept, gradients, grad_gain)
    matrix = distance.allocate(*images[:2])
    distance.forward(*images[:2], matrix)
    distance.backward(matrix, *images[:2], *gradients[:2])


def _resources(compiled: Any) -> tuple[int, int, int, int]:
    """Registers, stack, shared bytes and warps of a compiled kernel."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        printed = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    used = dict(field.split(":") for line in printed.splitlines() if "REG:" in line for field in line.split())
    return int(used["REG"]), int(used["STACK"]), compiled.metadata.shared, compiled.metadata.num_warps


def table() -> Iterator[str]:
    """Lines of the table, for all targets and dtypes."""
    header = ("kernel", "C", "sm", "tokens", *Resources._fields[4:])
    yield "{:32} {:>4} {:>4} {:>9} {:>9} {:>6} {:>7} {:>5}".format(*header)
    for capability in SHARED_LIMIT:
        for dtype in DTYPES:
            for r in compile_all(capability, dtype):
                yield "{:32} {:4} {:4} {:>9} {:9} {:6} {:7} {:5}".format(*r)


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
