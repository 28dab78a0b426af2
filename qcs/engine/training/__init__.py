"""Training: settings, recipes, the training loop, exact resume; each part loads when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qcs.engine.training.config import TrainConfig
    from qcs.engine.training.progress import Progress
    from qcs.engine.training.recipes import RECIPES, recipe
    from qcs.engine.training.sam import SAM
    from qcs.engine.training.trainer import RunResult, resume, train

_HOME = {
    "TrainConfig": "config",
    "Progress": "progress",
    "RECIPES": "recipes",
    "recipe": "recipes",
    "SAM": "sam",
    "RunResult": "trainer",
    "resume": "trainer",
    "train": "trainer",
}

__all__ = ["RECIPES", "SAM", "Progress", "RunResult", "TrainConfig", "recipe", "resume", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
