"""Evaluation and prediction, and the run folder that they share with training, which is `qcs.engine.training`."""

from qcs.engine.evaluation import Evaluation as Evaluation
from qcs.engine.evaluation import evaluate as evaluate
from qcs.engine.face_crop import trained_crop as trained_crop
from qcs.engine.prediction import PicturePrediction as PicturePrediction
from qcs.engine.prediction import Prediction as Prediction
from qcs.engine.prediction import classify as classify
from qcs.engine.prediction import predict as predict
from qcs.engine.prediction import predict_faces as predict_faces
from qcs.engine.tta import FlipTTA as FlipTTA
