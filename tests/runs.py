"""What two trainings must share to count as the same."""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import load_file

from qcs.engine.training import RunResult

CLOCK = {"seconds", "images_per_second"}


def check_equal(whole: RunResult, pieces: RunResult) -> None:
    """Weights, history and test result are equal bit for bit."""
    for name in ("best", "last"):
        expected, got = (load_file(run.folder / f"{name}.safetensors") for run in (whole, pieces))
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[key], got[key]) for key in expected)
    for record, again in zip(whole.history, pieces.history, strict=True):
        assert {k: v for k, v in record.items() if k not in CLOCK} == {k: v for k, v in again.items() if k not in CLOCK}
    assert whole.test is not None and pieces.test is not None
    assert np.array_equal(whole.test.confusion, pieces.test.confusion) and whole.test.loss == pieces.test.loss
