"""Install a library into a virtual environment of its own, and run a program there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import qcs
from benchmarks.peers.libraries import WORKERS, Library
from qcs.errors import InputError, brief

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
Answer = Mapping[str, npt.NDArray[Any]]


def python_of(library: Library, folder: Path) -> Path:
    """Return the interpreter of a library, after installing it if it is not yet there.

    Raises:
        InputError: If it cannot be installed.
    """
    if not library.requirements:
        return Path(sys.executable)
    python, done = folder / library.name / "bin" / "python", folder / library.name / ".installed"
    if not done.exists():
        _run([sys.executable, "-m", "venv", "--clear", str(folder / library.name)], library)
        _run([str(python), "-m", "pip", "install", "--quiet", "--no-cache-dir", *library.requirements], library)
        done.touch()
    return python


def classify(library: Library, python: Path, images: npt.NDArray[np.uint8], folder: Path) -> Answer:
    """Return what a library says of images (n, H, W), uint8: `probabilities`, `classes` and `seconds` of each image.

    Raises:
        InputError: If its program fails or answers for other images.
    """
    source, target = folder / "images.npz", folder / f"{library.name}.npz"
    np.savez(source, images=images)
    _run([str(python), str(library.worker), str(source), str(target)], library)
    with np.load(target, allow_pickle=False) as archive:
        answer = dict(archive)
    if len(answer["probabilities"]) != len(images):
        raise InputError(f"{library.name} answered for {len(answer['probabilities'])} of {len(images)} images")
    return answer


def installed(library: Library, python: Path) -> dict[str, Any]:
    """Return the `version` of a library, and the bytes of it and of all that it needs: `sizes`, by distribution."""
    found: dict[str, Any] = json.loads(
        _run([str(python), str(WORKERS / "installed.py"), library.distribution], library)
    )
    if not library.requirements:  # an editable installation, whose files are elsewhere
        files = [each for each in Path(qcs.__file__).parent.rglob("*") if each.suffix != ".pyc"]
        found["sizes"][library.distribution] += sum(each.stat().st_size for each in files)
    return found


def _run(command: list[str], library: Library) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ONE_THREAD}, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise InputError(f"{library.name}: {' '.join(command[:4])} ... failed: {brief(reason[0])}")
    return done.stdout
