"""Facial expression recognition with ONNX Runtime: detection, alignment and the shipped network of qcs, no PyTorch."""

from qcs.errors import InputError as InputError
from qcs.faces.alignment import align as align
from qcs.faces.faces import Faces as Faces
from qcs.faces.mtcnn import MTCNN as MTCNN
from qcs.version import __version__ as __version__
from qcs_runtime.classifier import Classifier as Classifier
from qcs_runtime.prediction import predict as predict
