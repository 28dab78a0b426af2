"""Training: settings, recipes, the training loop, exact resume."""

from typing import TYPE_CHECKING

from qcs.imports import lazy

if TYPE_CHECKING:
    from qcs.engine.training.config import TrainConfig as TrainConfig
    from qcs.engine.training.progress import Progress as Progress
    from qcs.engine.training.recipes import RECIPES as RECIPES
    from qcs.engine.training.recipes import recipe as recipe
    from qcs.engine.training.sam import SAM as SAM
    from qcs.engine.training.trainer import RunResult as RunResult
    from qcs.engine.training.trainer import resume as resume
    from qcs.engine.training.trainer import train as train
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "TrainConfig": "config",
            "Progress": "progress",
            "RECIPES": "recipes",
            "recipe": "recipes",
            "RunResult": "trainer",
            "SAM": "sam",
            "resume": "trainer",
            "train": "trainer",
        },
        extra="train",
    )
