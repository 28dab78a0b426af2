"""Networks of Quadruplet Cross Similarity, registered with timm, and their weights."""

from qcs.branches import BranchLogits as BranchLogits
from qcs.models.classifiers import Classifier as Classifier
from qcs.models.convert import convert_checkpoint as convert_checkpoint
from qcs.models.dlib_resnet import DlibResNet as DlibResNet
from qcs.models.factory import create_model as create_model
from qcs.models.factory import list_models as list_models
from qcs.models.factory import load_checkpoint as load_checkpoint
from qcs.models.factory import load_model as load_model
from qcs.models.inference import fast_inference_model as fast_inference_model
from qcs.models.ir import IRNet as IRNet
from qcs.models.network import CrossSimilarityNetwork as CrossSimilarityNetwork
from qcs.models.weights import find_weights as find_weights
from qcs.models.weights import save_model as save_model
