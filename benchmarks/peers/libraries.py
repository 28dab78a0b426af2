"""The libraries that are compared: what to install, and the program that classifies with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

WORKERS = Path(__file__).parent / "workers"


@dataclass(frozen=True)
class Library:
    """A library whose weights come inside an installable package.

    Args:
        name: Its name, also that of its program in `workers/`.
        distribution: The name under which it is installed.
        requirements: What pip installs into an environment of its own; empty for this library, which is there.
        license: License of code and weights, as the package states it.
    """

    name: str
    distribution: str
    requirements: tuple[str, ...]
    license: str

    @property
    def worker(self) -> Path:
        """Return the program that reads images and writes probabilities."""
        return WORKERS / f"{self.name}_worker.py"


LIBRARIES = (
    Library("qcs", "qcs-fer", (), "Apache-2.0"),
    Library("fer", "fer", ("fer==25.10.3",), "MIT"),
)


def library(name: str) -> Library:
    """Return the library of that name; a KeyError names those there are."""
    known = {each.name: each for each in LIBRARIES}
    if name not in known:
        raise KeyError(f"unknown library {name}; expected one of {', '.join(known)}")
    return known[name]
