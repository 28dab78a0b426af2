"""The command line in tests: what is run, and what is asserted of it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import toy
from PIL import Image
from safetensors.torch import save_file

QUICK = ("--model", "base_nano", "--epochs", "1", "--batch-size", "6", "--fraction", "1", "--precision", "fp32")


class Outcome(NamedTuple):
    status: object
    out: str
    err: str


Run = Callable[..., Outcome]


def fails(outcome: Outcome, message: str) -> None:
    """One line on the error stream that says what, where and what was expected."""
    assert outcome.status == 1
    assert re.fullmatch(rf"error: {message}\n", outcome.err), outcome.err
    assert "Traceback" not in outcome.out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def images(folder: Path, *names: str) -> Path:
    """Image files at these places below a folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(toy.squares(3)[0][0]).save(folder / name)
    return folder


def other_weights(folder: Path) -> Path:
    save_file({"conv.weight": torch.zeros(2)}, folder / "other.safetensors")
    return folder / "other.safetensors"


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


CORRUPTIONS: dict[str, Callable[[Path], object]] = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:600]),
    "empty": lambda file: file.write_bytes(b""),
    "no image": lambda file: file.write_text("no image\nat all"),
}


def command(*arguments: object) -> list[str]:
    """The command line in a process of its own."""
    return [sys.executable, "-m", "qcs", *map(str, arguments)]


def alone(*arguments: object, **options: Any) -> Outcome:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120, **options)
    return Outcome(done.returncode, done.stdout, done.stderr)
