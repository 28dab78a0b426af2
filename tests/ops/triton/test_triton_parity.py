"""The original's numbers through the Triton kernels, in the interpreter: operators, and the whole published network."""

from __future__ import annotations

from typing import Any

import parity
import pytest
import torch
from test_parity import too_far


def test_every_operator_matches_the_original(interpreted: Any) -> None:
    assert not too_far(parity.kernel_errors(torch.float32, "triton"), torch.float32)


@pytest.mark.slow
def test_the_network_matches_the_original_in_training(interpreted: Any) -> None:
    """The kernels do not know the mode, and `tests/test_parity.py` compares both modes of all that surrounds them."""
    assert not too_far(parity.network_errors("qcs_raf_db", torch.float32, "triton", ("train",)), torch.float32)
