"""Install a wheel with each extra into an environment of its own; print size and packages as a table.

`python -m benchmarks.installation dist/NAME.whl environments "" faces train` measures the core and two extras, and
leaves their environments in the folder `environments`. Sizes include PyTorch with the libraries for GPUs that its wheel
requires.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PYTORCH = ("torch", "functorch", "triton", "nvidia", "cuda")
"""What the names of PyTorch's packages begin with."""


@dataclass(frozen=True)
class Installation:
    """What an extra costs.

    Attributes:
        extra: Name of the extra; empty for the core.
        megabytes: Size on disk of all installed packages, in MB.
        torch: Size on disk of PyTorch and the libraries for GPUs, part of `megabytes`.
        packages: Number of installed packages without pip and setuptools.
    """

    extra: str
    megabytes: float
    torch: float
    packages: int


def measure(wheel: Path, extra: str, folder: Path) -> Installation:
    """Install a wheel with one extra into a new environment in a folder."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    before = {path.name for path in _packages(folder).iterdir()}
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # pip would count what is there
    wanted = f"{wheel}[{extra}]" if extra else wheel
    subprocess.run([python, "-m", "pip", "install", "--quiet", wanted], check=True, env=own)
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, env=own)
    names = {package["name"] for package in json.loads(listed.stdout)} - {"pip", "setuptools"}
    parts = {path.name: _megabytes(path) for path in _packages(folder).iterdir() if path.name not in before}
    torch = sum(size for name, size in parts.items() if name.startswith(PYTORCH) and "metrics" not in name)
    return Installation(extra, sum(parts.values()), torch, len(names))


def table(rows: Sequence[Installation]) -> str:
    """Return measurements as a table in Markdown; sizes in MB.

    Example:
        >>> print(table([Installation("", 620.4, 500.2, 30)]).splitlines()[-1])
        | core | 120 | 500 | 30 |
    """
    lines = ["| install | MB without PyTorch | MB of PyTorch | packages |", "|---|---|---|---|"]
    for row in rows:
        name = f"`[{row.extra}]`" if row.extra else "core"
        rest = row.megabytes - row.torch
        lines.append(f"| {name} | {rest:,.0f} | {row.torch:,.0f} | {row.packages} |")
    return "\n".join(lines)


def _packages(environment: Path) -> Path:
    return environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _megabytes(path: Path) -> float:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_blocks for file in files) * 512 / 1e6


def main() -> None:
    """Measure the extras on the command line, one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path, help="new folder for the environments")
    parser.add_argument("extras", nargs="+", help='names of extras; "" is the core')
    arguments = parser.parse_args()
    wheel, folder = arguments.wheel.resolve(), arguments.folder.resolve()
    folder.mkdir(parents=True)
    print(table([measure(wheel, extra, folder / (extra or "core")) for extra in arguments.extras]))


if __name__ == "__main__":
    main()
