"""Files that cannot be right end a command in one line."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from commands import Run, fails

import qcs
from qcs.models import save_model


def test_weights_that_are_not_finite_are_refused(run: Run, tmp_path: Path) -> None:
    model = qcs.create_model("base_nano")
    torch.nn.init.constant_(model.get_classifier().weight, math.nan)
    path = save_model(model, tmp_path / "diverged.safetensors")
    said = (
        r".*diverged\.safetensors holds values that are not finite in base\.head\.weight: the training diverged or .*"
    )
    fails(run("predict", path, tmp_path, "--no-detect"), said)
