"""Evaluation, prediction and run folders; training is `qcs.engine.training`."""

from typing import TYPE_CHECKING

from qcs.imports import lazy

if TYPE_CHECKING:
    from qcs.engine import training as training
    from qcs.engine.calibration import calibrate_weights as calibrate_weights
    from qcs.engine.evaluation import Evaluation as Evaluation
    from qcs.engine.evaluation import evaluate as evaluate
    from qcs.engine.face_crop import trained_crop as trained_crop
    from qcs.engine.prediction import classify as classify
    from qcs.engine.prediction import predict as predict
    from qcs.engine.prediction import predict_faces as predict_faces
    from qcs.engine.tta import FlipTTA as FlipTTA
    from qcs.engine.weights_evaluation import WeightsEvaluation as WeightsEvaluation
    from qcs.engine.weights_evaluation import evaluate_weights as evaluate_weights
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "training": "training",
            "calibrate_weights": "calibration",
            "Evaluation": "evaluation",
            "evaluate": "evaluation",
            "trained_crop": "face_crop",
            "classify": "prediction",
            "predict": "prediction",
            "predict_faces": "prediction",
            "FlipTTA": "tta",
            "WeightsEvaluation": "weights_evaluation",
            "evaluate_weights": "weights_evaluation",
        },
        extra="train",
    )
