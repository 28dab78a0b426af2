"""Draw figures from arrays, and compute the arrays behind the figures of a network.

The functions that draw take arrays alone. `compare`, `features` and `activation_maps` take a network and return arrays.
"""

from qcs.visualize.attention import Overlay, attention_rows
from qcs.visualize.cam import activation_maps
from qcs.visualize.classes import class_heat_maps, class_maps
from qcs.visualize.confusion import confusion_matrices
from qcs.visualize.curves import loss_curves
from qcs.visualize.discriminative import discriminative_features, feature_maps
from qcs.visualize.embeddings import embedding, neighbor_agreement, project
from qcs.visualize.faces import faces_as_seen
from qcs.visualize.figure import save
from qcs.visualize.maps import Comparison, PairMaps, compare, features, mean_attention, upsample
from qcs.visualize.reliability import reliability_diagram
from qcs.visualize.risk_coverage import risk_coverage_curve
from qcs.visualize.similarity import similarity_matrices

__all__ = [
    "Comparison",
    "Overlay",
    "PairMaps",
    "activation_maps",
    "attention_rows",
    "class_heat_maps",
    "class_maps",
    "compare",
    "confusion_matrices",
    "discriminative_features",
    "embedding",
    "faces_as_seen",
    "feature_maps",
    "features",
    "loss_curves",
    "mean_attention",
    "neighbor_agreement",
    "project",
    "reliability_diagram",
    "risk_coverage_curve",
    "save",
    "similarity_matrices",
    "upsample",
]
