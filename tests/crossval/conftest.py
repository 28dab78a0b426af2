"""A plan of trainings of a second each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy

from qcs.crossval import DataSource, Network, Plan

QUICK = dict(recipe="scratch", epochs=1, batch_size=6, fraction=1.0, resize=48, rotation=0.0)


Networks = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy images as one archive."""
    return toy.archive(tmp_path_factory.mktemp("data") / "toy.npz")


@pytest.fixture(scope="module")
def plan_of(archive: Path) -> Callable[..., Plan]:
    """Make a plan on the toy archive; `networks` gives the settings of each network by name."""

    def make(networks: Networks | None = None, **changes: Any) -> Plan:
        chosen = networks if networks is not None else {"nano": {}}
        built = {name: Network("base_nano", settings=settings) for name, settings in chosen.items()}
        common = {"data": {"toy": DataSource(str(archive))}, "networks": built, "repeats": 1, "settings": QUICK}
        return Plan(**{**common, **changes})  # type: ignore[arg-type]

    return make
