"""What the kernels' machine code takes on GPUs that need not be here."""

from __future__ import annotations

import os

import pytest
import torch

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("kernels defined for the interpreter cannot be compiled", allow_module_level=True)

from ops.triton.ahead_of_time import DTYPES, SHARED_LIMIT, compile_all


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("capability", SHARED_LIMIT)
def test_no_kernel_spills_registers_or_exceeds_shared_memory(capability: int, dtype: torch.dtype) -> None:
    rows = compile_all(capability, dtype)
    assert {row.kernel.split(".")[0] for row in rows} == {"small", "tiled", "distance"}
    assert [row for row in rows if row.shared > SHARED_LIMIT[capability]] == []
    # Strides that are not multiples of 16 need wider addresses: the token gradients may spill a few registers.
    allowed = {row for row in rows if row.channels % 16 and ".tokens_bwd" in row.kernel and row.stack <= 96}
    assert [row for row in rows if row.stack and row not in allowed] == []
