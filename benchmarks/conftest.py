"""Options of the benchmarks, and machine information in their result file."""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PACKAGES = ("qcs", "torch", "triton", "pykeops", "numpy")
SETTINGS = ("OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
SHAPES = "24x49x768 24x196x768 2x784x256 1x3136x64 1x12544x64"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cross-similarity benchmarks")
    group.addoption("--shapes", default=SHAPES, help="tokens BxNxC, separated by spaces (default: %(default)s)")
    group.addoption(
        "--seconds", type=float, default=20.0, help="time to fill with rounds per test, in seconds; at least 5 rounds"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "shape" in metafunc.fixturenames:
        metafunc.parametrize("shape", metafunc.config.getoption("--shapes").split())


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["packages"] = {name: _version(name) for name in PACKAGES}
    machine_info["torch_threads"] = torch.get_num_threads()
    machine_info["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    machine_info["environment"] = {name: os.environ.get(name) for name in SETTINGS}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
