"""Training, evaluation and prediction, with the run folder they share."""

from qcs.engine.config import TrainConfig as TrainConfig
from qcs.engine.crop import trained_crop as trained_crop
from qcs.engine.evaluation import Evaluation as Evaluation
from qcs.engine.evaluation import evaluate as evaluate
from qcs.engine.mirrored import Mirrored as Mirrored
from qcs.engine.predict import PicturePrediction as PicturePrediction
from qcs.engine.predict import Prediction as Prediction
from qcs.engine.predict import classify as classify
from qcs.engine.predict import predict as predict
from qcs.engine.predict import predict_faces as predict_faces
from qcs.engine.recipes import RECIPES as RECIPES
from qcs.engine.recipes import recipe as recipe
from qcs.engine.sam import SAM as SAM
from qcs.engine.train import RunResult as RunResult
from qcs.engine.train import resume as resume
from qcs.engine.train import train as train
