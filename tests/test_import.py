"""Importing the library costs little more than importing what it builds on."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

MEASURE = """
import json, sys, time
start = time.perf_counter()
import torch, timm
foundation, known = time.perf_counter() - start, {name.split(".")[0] for name in sys.modules}
import qcs
whole = time.perf_counter() - start
model = qcs.create_model("qcs_nano")
qcs.losses.JointLoss()(model(*torch.randn(4, 2, 3, 48, 48)), torch.zeros(4, 2, dtype=torch.long))
qcs.samplers.QuadrupletSampler([0, 0, 1, 1], 1)
packages = {name.split(".")[0] for name in sys.modules} - known - sys.stdlib_module_names
parts = {".".join(name.split(".")[:2]) for name in sys.modules if name.startswith("qcs.")}
print(json.dumps({"foundation": foundation, "whole": whole, "packages": sorted(packages), "parts": sorted(parts)}))
"""


def measured() -> dict[str, Any]:
    """What a fresh process finds out."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_import_takes_at_most_a_quarter_longer_than_torch_and_timm_and_loads_no_extras() -> None:
    runs = [measured() for _ in range(2)]
    whole, foundation = (min(run[name] for run in runs) for name in ("whole", "foundation"))
    assert whole < 1.25 * foundation
    # Neither importing nor using a network loads what training, pictures and the command line need.
    assert runs[0]["packages"] == ["einops", "qcs"]
    assert not {"qcs.engine", "qcs.visualize", "qcs.cli"} & set(runs[0]["parts"])
