"""Type checkers understand what calls of layers and networks return, and no public function hides its type."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SNIPPET = Path(__file__).with_name("calls.py")
PUBLIC = [ROOT / "qcs" / name for name in ("layers", "losses", "models", "samplers")]


def check(*command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.slow
def test_mypy_understands_calls() -> None:
    assert not check("mypy", str(SNIPPET))


@pytest.mark.slow
def test_pyright_understands_calls(tmp_path: Path) -> None:
    settings = tmp_path / "pyrightconfig.json"
    settings.write_text(f'{{"include": ["{SNIPPET}"], "extraPaths": ["{ROOT}"], "typeCheckingMode": "standard"}}')
    assert not check("basedpyright", "--pythonpath", sys.executable, "--project", str(settings))


@pytest.mark.parametrize("folder", PUBLIC, ids=lambda folder: folder.name)
def test_no_public_function_returns_any(folder: Path) -> None:
    for path in folder.glob("[!_]*.py"):
        functions = [x for x in ast.walk(ast.parse(path.read_text())) if isinstance(x, ast.FunctionDef)]
        found = [
            f.name for f in functions if not f.name.startswith("_") and f.returns and ast.unparse(f.returns) == "Any"
        ]
        assert not found, f"{path.name}: {found}"
