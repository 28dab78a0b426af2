"""Training: settings, recipes, the loop, and exact resume."""

from qcs.engine.training.config import TrainConfig as TrainConfig
from qcs.engine.training.recipes import RECIPES as RECIPES
from qcs.engine.training.recipes import recipe as recipe
from qcs.engine.training.sam import SAM as SAM
from qcs.engine.training.trainer import RunResult as RunResult
from qcs.engine.training.trainer import resume as resume
from qcs.engine.training.trainer import train as train
