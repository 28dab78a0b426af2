"""Importing the library costs little more than importing what it builds on."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import qcs

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
    assert runs[0]["packages"] == ["qcs"]
    assert not {"qcs.engine", "qcs.visualize", "qcs.cli"} & set(runs[0]["parts"])


ORDERS = {
    "before timm": "import qcs, timm",
    "after timm": "import timm, qcs",
    "before a part of timm": "import qcs; from timm.models import create_model; import timm",
    "asked for first": "import qcs, importlib.util; importlib.util.find_spec('timm'); import timm",
    "through a part": "from qcs.layers.token_transformer import TokenTransformer; import timm",
    "through a part that needs the networks": "from qcs.engine import predict; import timm",
}


# Each in a fork of a process that has imported neither: PyTorch, which both need, is imported once.
EACH_ORDER = """
import os, sys, torch, torchvision
for order in sys.argv[1:]:
    if not os.fork():
        exec(order)
        print(timm.is_model("qcs_small"), timm.create_model("base_nano").num_classes, order, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_the_networks_are_registered_with_timm_in_any_order_of_imports() -> None:
    orders = list(ORDERS.values())
    done = subprocess.run(
        [sys.executable, "-c", EACH_ORDER, *orders], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines() == [f"True 7 {order}" for order in orders], done.stderr


WITHOUT_ACCELERATE = """
import sys
sys.modules["accelerate"] = None
import qcs.engine.weights_evaluation, qcs.export.formats, qcs.faces.folder, qcs.publish.upload
import qcs.report.drawing, qcs.report.page, qcs.serve.server
print(qcs.engine.prediction.default_device())
import qcs.engine.training.trainer
"""


@pytest.mark.slow
def test_only_training_needs_accelerate() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_ACCELERATE], capture_output=True, text=True, timeout=120)
    assert done.stdout and "trainer" in done.stderr
    assert re.match(r"ModuleNotFoundError: .*\baccelerate\b", done.stderr.splitlines()[-1])


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    heavy = (
        "{name.split('.')[0] for name in sys.modules} & {'torch', 'timm', 'torchvision', 'accelerate', 'matplotlib'}"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import qcs, qcs.cli, sys; print({heavy})"], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr


def test_dir_shows_every_part_and_each_can_be_imported() -> None:
    public = [name for name in dir(qcs) if not name.startswith("__")]
    assert {"create_model", "load_model", "layers", "losses", "samplers", "functional", "engine", "data"} <= set(public)
    assert all(getattr(qcs, name) is not None for name in public)
    with pytest.raises(AttributeError, match="module 'qcs' has no attribute 'hub'"):
        _ = qcs.hub  # type: ignore[attr-defined]


def lazy_packages() -> list[Path]:
    files = sorted(Path(qcs.__file__).parent.rglob("__init__.py"))
    return [file for file in files if "= lazy(" in file.read_text()]


@pytest.mark.parametrize("file", lazy_packages(), ids=lambda file: file.parent.name)
def test_a_lazy_package_gives_type_checkers_the_names_that_it_has(file: Path) -> None:
    package = ".".join(file.relative_to(Path(qcs.__file__).parents[1]).parts[:-1])
    module = importlib.import_module(package)
    declared: dict[str, str] = {}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(package):
            declared |= {name.name: node.module for name in node.names if name.asname == name.name}
    public = {name for name in dir(module) if not name.startswith("__")}
    assert public == declared.keys() - {"__version__"}
    for name, home in declared.items():
        if home != package:
            assert getattr(module, name) is getattr(importlib.import_module(home), name)
